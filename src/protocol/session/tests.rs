//! Tables over states and commands.
