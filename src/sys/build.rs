//! Tells the linker about the one function that `sys::rings` puts in another's place, in the server
//! and in ringload.

fn main() {
    println!("cargo::rustc-link-arg=-Wl,--wrap=__sys_io_uring_setup");
    println!("cargo::rerun-if-changed=Cargo.toml");
}
