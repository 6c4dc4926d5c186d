//! Tells the linker which functions `sys::rings` puts in the place of others, in the server and in
//! ringload.

fn main() {
    for function in ["__sys_io_uring_setup", "__sys_io_uring_register"] {
        println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
    }
    println!("cargo::rerun-if-changed=Cargo.toml");
}
