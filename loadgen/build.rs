//! Tells the linker which functions `sys::rings` puts in the place of others.

fn main() {
    for function in ["setup", "register", "enter2"] {
        let function = format!("__sys_io_uring_{function}");
        println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
    }
    println!("cargo::rerun-if-changed=Cargo.toml");
}
