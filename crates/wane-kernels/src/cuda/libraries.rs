//! Finds the NVIDIA driver, NVRTC and cuBLASLt at run time and says what to install if one is
//! missing. Nothing of CUDA is needed to build wane or to run it on the CPU.
//!
//! A library is looked for in the loader's own path first, then in the places where the CUDA
//! toolkit and the `nvidia-*` Python packages put it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cudarc::{cublaslt, driver, nvrtc};

use crate::{Error, Result};

/// Checks once per process that the three libraries can be loaded.
pub(super) fn require() -> Result<()> {
    static STATE: OnceLock<std::result::Result<(), (&'static str, &'static str)>> = OnceLock::new();
    let state = STATE.get_or_init(|| {
        // SAFETY: these only try to load a library by name.
        if !unsafe { driver::sys::is_culib_present() } {
            return Err((
                "driver (libcuda)",
                "not found: install the NVIDIA driver (580 or newer for CUDA 13), or run with --device cpu",
            ));
        }
        // SAFETY: as above.
        if !present("libnvrtc.so", || unsafe { nvrtc::sys::is_culib_present() }) {
            return Err((
                "run-time compiler (libnvrtc)",
                "not found: install the CUDA 13 toolkit or the Python package nvidia-cuda-nvrtc, and set \
                 CUDA_HOME or LD_LIBRARY_PATH if it lies in an unusual place; or run with --device cpu",
            ));
        }
        // SAFETY: as above.
        if !present("libcublasLt.so", || unsafe { cublaslt::sys::is_culib_present() }) {
            return Err((
                "matrix library (libcublasLt)",
                "not found: install the CUDA 13 toolkit or the Python package nvidia-cublas, and set \
                 CUDA_HOME or LD_LIBRARY_PATH if it lies in an unusual place; or run with --device cpu",
            ));
        }
        Ok(())
    });
    state.map_err(|(what, cause)| Error::Cuda { what: what.into(), cause: cause.into() })
}

// Loads `stem.13` or `stem.12` from the usual directories if the loader does not know it. Once a
// library is in the process, loading it by its bare name finds it.
fn present(stem: &str, check: impl Fn() -> bool) -> bool {
    if check() {
        return true;
    }
    for directory in directories() {
        for major in ["13", "12"] {
            let path = directory.join(format!("{stem}.{major}"));
            if path.exists() {
                // SAFETY: NVIDIA's libraries have no load-time side effects that matter here.
                if let Ok(library) = unsafe { libloading::Library::new(&path) } {
                    std::mem::forget(library);
                    if check() {
                        return true;
                    }
                }
            }
        }
    }
    false
}

// Where the CUDA toolkit and the `nvidia-*` Python packages put their libraries.
pub(super) fn directories() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    for root in
        [variable("CUDA_HOME"), variable("CUDA_PATH"), Some("/usr/local/cuda".into())].into_iter().flatten()
    {
        found.push(root.join("lib64"));
        found.push(root.join("lib"));
        found.push(root);
    }
    let mut prefixes: Vec<PathBuf> =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(|name| variable(name)).collect();
    prefixes.extend(variable("HOME").map(|home| home.join(".local")));
    // The environment whose `python3` comes first, also where nothing says that it is one.
    let path = std::env::var_os("PATH").unwrap_or_default();
    prefixes.extend(
        std::env::split_paths(&path)
            .filter(|bin| bin.join("python3").exists())
            .filter_map(|bin| bin.parent().map(Path::to_owned)),
    );
    prefixes.extend(["/usr/local".into(), "/usr".into()]);
    prefixes.extend(entries(Path::new("/opt")));
    for prefix in prefixes {
        for python in entries(&prefix.join("lib")) {
            for packages in ["site-packages", "dist-packages"] {
                for library in entries(&python.join(packages).join("nvidia")) {
                    found.push(library.join("lib"));
                }
            }
        }
    }
    found.retain(|path| path.is_dir());
    found
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
