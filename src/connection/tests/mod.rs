//! The shipped shells in simulation: control loop, passive ports, handshakes, transfers and storage
//! run as they are on a simulated shard (`runtime::simulated`), with clients beside them that are
//! cut, slow, many or patient as a seed decides. A run that fails names its seed and repeats.

mod carrier;
mod client;
mod cuts;
mod dialogues;
mod line;
mod model;
mod past_faults;
mod player;
mod random_sessions;
mod shutdown;
mod workload;
mod world;
