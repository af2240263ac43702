use net_sys::*;
use std::{env, ffi::CStr, fs, ptr};

fn check(status: i32) -> Result<(), String> {
    match status {
        0 => Ok(()),
        _ => Err(unsafe { CStr::from_ptr(net_text(status)) }.to_string_lossy().into_owned()),
    }
}

fn run(x: &[u8]) -> Result<Vec<f32>, String> {
    let (input, output) = unsafe { (&*net_input(0), &*net_output(0)) };
    if x.len() != input.bytes {
        return Err(format!("an image has {} bytes", input.bytes));
    }
    // Where a float may be, which a byte's address need not be.
    let x: Vec<f32> = x.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
    let mut y = vec![0f32; output.bytes / 4];
    let options = net_options { threads: 2, parallel_for: None, user: ptr::null_mut() };
    let mut context = ptr::null_mut();
    unsafe {
        check(net_create(&options, &mut context))?;
        let status = net_run(context, [x.as_ptr().cast()].as_ptr(), [y.as_mut_ptr().cast()].as_ptr());
        net_destroy(context);
        check(status)?;
    }
    Ok(y)
}

fn main() -> Result<(), String> {
    let path = env::args().nth(1).ok_or("usage: classify IMAGE")?;
    let y = run(&fs::read(path).map_err(|error| error.to_string())?)?;
    let best = (0..y.len()).max_by(|&a, &b| y[a].total_cmp(&y[b])).ok_or("no classes")?;
    println!("{} {:?}", best, y[best]);
    Ok(())
}
