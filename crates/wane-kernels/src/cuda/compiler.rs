//! CUDA C++ to machine code: NVRTC, with the results kept on disk.
//!
//! A file of the cache is named by a hash of everything that decides its content: sources, headers,
//! defines, options, architecture and compiler version. `WANE_CACHE` moves the cache.

use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;

use cudarc::nvrtc::{result as nvrtc, sys};

use super::kernels::Module;
use crate::{Error, Result};

// Headers that a `.cu` file may include.
const HEADERS: &[(&CStr, &str)] = &[(c"common.cuh", include_str!("common.cuh"))];

fn failed(what: impl ToString, cause: impl ToString) -> Error {
    Error::Cuda { what: what.to_string(), cause: cause.to_string() }
}

/// (major, minor) of NVRTC.
pub(super) fn version() -> Result<(i32, i32)> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: two valid out-pointers.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result().map_err(|e| failed("NVRTC version", e))?;
    Ok((major, minor))
}

/// Machine code of `module` for `arch` (such as `sm_90a`), from the cache if it is there.
pub(super) fn cubin(module: &Module<'_>, arch: &str) -> Result<Vec<u8>> {
    let options = options(module, arch);
    let path = cache_directory().map(|directory| {
        directory.join(format!("{}-{:032x}.cubin", module.name, fingerprint(module, &options)))
    });
    if let Some(code) =
        path.as_ref().and_then(|path| std::fs::read(path).ok()).filter(|code| !code.is_empty())
    {
        return Ok(code);
    }
    let code = compile(module, &options)?;
    if let Some(path) = path {
        store(&path, &code);
    }
    Ok(code)
}

fn options(module: &Module<'_>, arch: &str) -> Vec<String> {
    let mut options = vec![format!("--gpu-architecture={arch}"), "--std=c++17".into()];
    options.extend(module.defines.iter().map(|(name, value)| format!("--define-macro={name}={value}")));
    options
}

// FNV-1a, 128 bit.
fn fingerprint(module: &Module<'_>, options: &[String]) -> u128 {
    let version = version().map(|(major, minor)| format!("{major}.{minor}")).unwrap_or_default();
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let parts = [module.source, &version].into_iter();
    let parts = parts.chain(HEADERS.iter().map(|(_, text)| *text)).chain(options.iter().map(String::as_str));
    for part in parts {
        for &byte in part.as_bytes().iter().chain(&[0]) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
    hash
}

fn cache_directory() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let root = variable("WANE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("wane")))
        .or_else(|| variable("HOME").map(|path| path.join(".cache/wane")))?;
    Some(root.join("kernels"))
}

// A cache that cannot be written is no error: the next run compiles again.
fn store(path: &std::path::Path, code: &[u8]) {
    let Some(directory) = path.parent() else { return };
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&temporary, code));
    if written.is_ok() {
        let _ = std::fs::rename(&temporary, path);
    }
}

fn compile(module: &Module<'_>, options: &[String]) -> Result<Vec<u8>> {
    let text = |text: &str| CString::new(text).map_err(|e| failed(format!("source of {}", module.name), e));
    let source = text(module.source)?;
    let file = text(&format!("{}.cu", module.name))?;
    let headers: Vec<CString> = HEADERS.iter().map(|(_, body)| text(body)).collect::<Result<_>>()?;
    let bodies: Vec<*const c_char> = headers.iter().map(|body| body.as_ptr()).collect();
    let names: Vec<*const c_char> = HEADERS.iter().map(|(name, _)| name.as_ptr()).collect();
    let mut program = std::ptr::null_mut();
    // SAFETY: all strings are NUL-terminated and outlive the program, which is destroyed below.
    unsafe {
        sys::nvrtcCreateProgram(
            &mut program,
            source.as_ptr(),
            file.as_ptr(),
            HEADERS.len() as i32,
            bodies.as_ptr(),
            names.as_ptr(),
        )
    }
    .result()
    .map_err(|e| failed(format!("compiler for {}", module.name), e))?;
    // SAFETY: `program` was created above and is destroyed once.
    let code = unsafe {
        let code = run(program, options);
        let _ = nvrtc::destroy_program(program);
        code
    };
    code.map_err(|cause| failed(format!("compilation of {}", module.name), cause))
}

// SAFETY: `program` must be alive.
unsafe fn run(program: sys::nvrtcProgram, options: &[String]) -> std::result::Result<Vec<u8>, String> {
    // SAFETY: the caller guarantees that the program is alive; sizes come from the library.
    unsafe {
        if let Err(error) = nvrtc::compile_program(program, options) {
            let log = nvrtc::get_program_log(program).unwrap_or_default();
            let log: Vec<u8> = log.into_iter().map(|c| c as u8).take_while(|&c| c != 0).collect();
            return Err(format!("{error} ({})\n{}", options.join(" "), String::from_utf8_lossy(&log)));
        }
        let mut bytes = 0;
        sys::nvrtcGetCUBINSize(program, &mut bytes).result().map_err(|e| e.to_string())?;
        let mut code = vec![0u8; bytes];
        sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast()).result().map_err(|e| e.to_string())?;
        Ok(code)
    }
}
