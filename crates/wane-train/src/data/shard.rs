//! A shard: packed token ids in one memory-mapped file.
//!
//! Little-endian: `b"wanetok1"`, u32 bytes per id (2 or 4), u32 zero, u64 tokens, u64 documents, 32
//! bytes SHA-256 of the tokenizer's file, then the ids. Documents are separated by the end token. The
//! counts are written last, so an interrupted shard reads as empty and is refused.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::tokenizer::TokenizerHash;
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"wanetok1";
const HEADER: usize = 64;
/// Extension of shard files.
pub const EXTENSION: &str = "tokens";

/// Writes a shard token by token.
#[derive(Debug)]
pub struct ShardWriter {
    path: PathBuf,
    file: BufWriter<File>,
    width: usize,
    tokens: u64,
    documents: u64,
}

impl ShardWriter {
    /// Starts a shard for a vocabulary of `vocabulary` ids.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, vocabulary: usize, tokenizer: &TokenizerHash) -> Result<Self> {
        let file = File::create(path).map_err(Error::io(path))?;
        let width = if vocabulary <= 1 << 16 { 2 } else { 4 };
        let mut header = [0u8; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&(width as u32).to_le_bytes());
        header[32..].copy_from_slice(&tokenizer.0);
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&header).map_err(Error::io(path))?;
        Ok(Self { path: path.to_owned(), file, width, tokens: 0, documents: 0 })
    }

    /// Appends one document's ids and the end token.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn document(&mut self, ids: &[u32], end: u32) -> Result<()> {
        for id in ids.iter().chain([&end]) {
            let bytes = id.to_le_bytes();
            self.file.write_all(&bytes[..self.width]).map_err(Error::io(&self.path))?;
        }
        self.tokens += ids.len() as u64 + 1;
        self.documents += 1;
        Ok(())
    }

    /// Tokens so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Writes the counts and waits until all is on disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<u64> {
        let path = self.path.clone();
        self.file.flush().map_err(Error::io(&path))?;
        let mut file = self.file.into_inner().map_err(|e| Error::io(&path)(e.into_error()))?;
        file.seek(SeekFrom::Start(16)).map_err(Error::io(&path))?;
        file.write_all(&self.tokens.to_le_bytes()).map_err(Error::io(&path))?;
        file.write_all(&self.documents.to_le_bytes()).map_err(Error::io(&path))?;
        file.sync_all().map_err(Error::io(&path))?;
        Ok(self.tokens)
    }
}

/// An open shard.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    map: Mmap,
    width: usize,
    tokens: usize,
    documents: u64,
    tokenizer: TokenizerHash,
}

impl Shard {
    /// Maps a shard into memory.
    ///
    /// # Errors
    /// No shard, a damaged or interrupted one, or an empty one.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        // SAFETY: shards are written once and never changed; a file cut off by somebody else while it is
        // mapped would raise SIGBUS, as for every memory-mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path))?;
        if map.len() < HEADER || &map[..8] != MAGIC {
            return Err(Error::data(path, "not a token shard; make one with `wane data pack`"));
        }
        let u64_at = |at: usize| u64::from_le_bytes(map[at..at + 8].try_into().unwrap_or_default());
        let width = map[8] as usize;
        let (tokens, documents) = (u64_at(16), u64_at(24));
        if width != 2 && width != 4 {
            return Err(Error::data(path, format!("ids of {width} bytes; 2 or 4 were expected")));
        }
        if tokens == 0 {
            return Err(Error::data(path, "holds no tokens, or packing was interrupted; pack it again"));
        }
        if ((map.len() - HEADER) as u64) < tokens.saturating_mul(width as u64) {
            return Err(Error::data(
                path,
                format!("is cut off: {tokens} tokens need more than {} bytes", map.len()),
            ));
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(&map[32..64]);
        Ok(Self {
            path: path.to_owned(),
            width,
            tokens: tokens as usize,
            documents,
            tokenizer: TokenizerHash(hash),
            map,
        })
    }

    /// Opens a shard, or all shards of a folder in the order of their names, and checks that they were
    /// made with `tokenizer`.
    ///
    /// # Errors
    /// As [`Shard::open`]; no shards in the folder; shards of another tokenizer.
    pub fn open_all(path: &Path, tokenizer: &TokenizerHash) -> Result<Vec<Self>> {
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            files = std::fs::read_dir(path)
                .map_err(Error::io(path))?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|file| file.extension().is_some_and(|e| e == EXTENSION))
                .collect();
            files.sort();
        }
        if files.is_empty() {
            return Err(Error::data(
                path,
                format!("has no *.{EXTENSION} files; make them with `wane data pack`"),
            ));
        }
        let shards = files.iter().map(|file| Self::open(file)).collect::<Result<Vec<_>>>()?;
        for shard in &shards {
            if &shard.tokenizer != tokenizer {
                return Err(Error::data(
                    &shard.path,
                    format!(
                        "was packed with tokenizer {}, the model uses {tokenizer}: pack the text again",
                        shard.tokenizer
                    ),
                ));
            }
        }
        Ok(shards)
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Number of documents.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// The tokenizer it was made with.
    pub fn tokenizer(&self) -> &TokenizerHash {
        &self.tokenizer
    }

    /// Appends ids `start..start + n` to `ids`; stops at the end of the shard.
    pub fn read(&self, start: usize, n: usize, ids: &mut Vec<u32>) {
        let end = start.saturating_add(n).min(self.tokens);
        let bytes = &self.map[HEADER + start.min(end) * self.width..HEADER + end * self.width];
        match self.width {
            2 => ids.extend(bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]])))),
            _ => ids.extend(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        }
    }
}
