//! Who takes part in a run, from the variables of `torchrun`: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT.

use super::failed;
use crate::Result;

/// The processes of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranks {
    /// This process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// This process among those of its machine: its GPU.
    pub local_rank: usize,
    /// Host name or address of rank 0.
    pub host: String,
    /// Port where rank 0 listens.
    pub port: u16,
}

impl Ranks {
    /// Reads the variables with `get`; `None` if there is one process only.
    ///
    /// `torchrun` itself often listens on MASTER_PORT (it says so with TORCHELASTIC_USE_AGENT_STORE): then the next port
    /// is used.
    ///
    /// # Errors
    /// Some of the variables are missing or make no sense.
    pub fn from_environment(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let number = |name: &str| -> Result<Option<usize>> {
            let Some(text) = get(name) else { return Ok(None) };
            let parsed = text.trim().parse::<usize>();
            parsed.map(Some).map_err(|_| failed(format!("{name} is {text:?}; a number was expected")))
        };
        let size = match number("WORLD_SIZE")? {
            None | Some(1) => return Ok(None),
            Some(0) => return Err(failed("WORLD_SIZE is 0")),
            Some(size) => size,
        };
        let missing = |name: &str| {
            failed(format!("WORLD_SIZE is {size}, but {name} is not set: start with torchrun, or set it"))
        };
        let rank = number("RANK")?.ok_or_else(|| missing("RANK"))?;
        if rank >= size {
            return Err(failed(format!("RANK {rank} is not below WORLD_SIZE {size}")));
        }
        let port = number("MASTER_PORT")?.ok_or_else(|| missing("MASTER_PORT"))?;
        let is_taken = get("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|text| text == "True");
        let port = u16::try_from(port + usize::from(is_taken))
            .map_err(|_| failed(format!("MASTER_PORT {port} is no port: 1 to 65535")))?;
        Ok(Some(Self {
            rank,
            size,
            local_rank: number("LOCAL_RANK")?.unwrap_or(rank),
            host: get("MASTER_ADDR").ok_or_else(|| missing("MASTER_ADDR"))?,
            port,
        }))
    }

    /// The rows of a batch that this process takes.
    pub fn rows(&self, batch: usize) -> std::ops::Range<usize> {
        let each = batch / self.size;
        self.rank * each..(self.rank + 1) * each
    }
}
