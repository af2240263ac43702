//! What this program uses of net.h.
#![allow(non_camel_case_types)]

use std::os::raw::{c_char, c_int, c_void};

#[repr(C)]
pub struct net_tensor {
    pub name: *const c_char,
    pub layout: *const c_char,
    pub shape: *const i64,
    pub rank: i32,
    pub dtype: c_int,
    pub bytes: usize,
    pub alignment: usize,
    pub scale: f32,
    pub zero_point: i32,
}

pub type net_task = extern "C" fn(*mut c_void, i32);
pub type net_parallel_for = extern "C" fn(*mut c_void, i32, net_task, *mut c_void);

#[repr(C)]
pub struct net_options {
    pub threads: i32,
    pub parallel_for: Option<net_parallel_for>,
    pub user: *mut c_void,
}

#[repr(C)]
pub struct net_context {
    _opaque: [u8; 0],
}

extern "C" {
    pub fn net_text(status: c_int) -> *const c_char;
    pub fn net_input(number: i32) -> *const net_tensor;
    pub fn net_output(number: i32) -> *const net_tensor;
    pub fn net_create(options: *const net_options, context: *mut *mut net_context) -> c_int;
    pub fn net_run(context: *mut net_context, inputs: *const *const c_void, outputs: *const *mut c_void) -> c_int;
    pub fn net_destroy(context: *mut net_context);
}
