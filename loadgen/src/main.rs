//! The program `ringload`: the allocator and the exit status; everything else is in the library.

fn main() {}
