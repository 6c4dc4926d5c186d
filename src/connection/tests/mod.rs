//! The shipped shells in simulation: control loop, passive ports, handshakes, transfers and storage
//! run as they are on a simulated shard (`runtime::simulated`), with clients beside them that are
//! cut, slow, many or patient as a seed decides. A run that fails names its seed and repeats.
//!
//! The kernel's TLS is not simulated: a pair of local sockets has none (setsockopt(2) refuses
//! TCP_ULP), and what would seal between sendfile(2) and the socket in its place would be code of
//! the tests alone. `tests/ktls` runs it under kernels that have it. What drives it when a socket
//! is full, a page is cold or the transfer is to end (`transfer::download::kernel`) is simulated by
//! sendfile(2) in clear.

mod carrier;
mod client;
mod cuts;
mod dialogues;
mod hung_storage;
mod line;
mod model;
mod other_addresses;
mod past_faults;
mod player;
mod random_sessions;
mod shared_ports;
mod shutdown;
mod turns;
mod workload;
mod world;
mod write_size;
