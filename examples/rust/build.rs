//! Finds the library in NET_DIR, a folder that `tvm-mobilenet compile --package` wrote.
use std::{env, path::Path};

fn main() {
    println!("cargo:rerun-if-env-changed=NET_DIR");
    let package = env::var("NET_DIR").expect("NET_DIR: the folder that `tvm-mobilenet compile --package` wrote");
    let folder = Path::new(&package).join("lib");
    let is_static = folder.join("libnet.a").exists();
    println!("cargo:rerun-if-changed={}", folder.display());
    println!("cargo:rustc-link-search=native={}", folder.display());
    println!("cargo:rustc-link-lib={}=net", if is_static { "static" } else { "dylib" });
    println!("cargo:rustc-link-lib=dylib=m");
}
