//! Collectives over TCP with rank 0 in the middle: it receives from every rank in order, adds, and sends the result
//! back. A message is `u8 kind, u64 length, payload`; kind 1 carries the reason why a rank ends, which rank 0 passes on,
//! so that all end with the first cause. A connection that closes without one means that a process has died.
//!
//! Meant for the host values of a run and for small models on CPUs: the traffic is `2 (size - 1)` times the gradients.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use wane_kernels::Tensor;

use super::{Collective, Ranks, failed};
use crate::Result;

const MAGIC: &[u8; 8] = b"wane-dp1";
const DATA: u8 = 0;
const ENDED: u8 = 1;
/// How long the ranks wait for each other at the start.
const PATIENCE: Duration = Duration::from_secs(120);

/// The connections of one rank: to all others at rank 0, to rank 0 elsewhere.
#[derive(Debug)]
pub struct Star {
    rank: usize,
    size: usize,
    // At rank 0: connection `i` leads to rank `i + 1`.
    peers: Vec<TcpStream>,
    // Whether the others know that this rank ends.
    is_told: bool,
}

impl Star {
    /// Meets the other ranks at rank 0's address.
    ///
    /// # Errors
    /// The address cannot be used, or a rank does not come within two minutes, or comes twice.
    pub fn meet(ranks: &Ranks) -> Result<Self> {
        Self::meet_within(ranks, PATIENCE)
    }

    /// As [`Star::meet`] with another patience.
    ///
    /// # Errors
    /// As [`Star::meet`].
    pub fn meet_within(ranks: &Ranks, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let peers = if ranks.rank == 0 { accept(ranks, deadline)? } else { vec![connect(ranks, deadline)?] };
        for peer in &peers {
            peer.set_nodelay(true)
                .and_then(|()| peer.set_read_timeout(None))
                .map_err(|e| failed(format!("TCP: {e}")))?;
        }
        let mut star = Self { rank: ranks.rank, size: ranks.size, peers, is_told: false };
        star.barrier()?;
        Ok(star)
    }

    /// Every rank's payload in place of `own`: at rank 0 `combine` sees the others' in order.
    fn exchange(&mut self, own: &mut Vec<u8>, combine: impl Fn(&mut [u8], &[u8])) -> Result<()> {
        let outcome = self.try_exchange(own, combine);
        if let Err(error) = &outcome {
            self.tell(&error.to_string());
        }
        outcome
    }

    fn try_exchange(&mut self, own: &mut Vec<u8>, combine: impl Fn(&mut [u8], &[u8])) -> Result<()> {
        if self.rank > 0 {
            let to_root = &mut self.peers[0];
            // If rank 0 has ended, its reason can still be read.
            let _ = send(to_root, DATA, own);
            *own = receive(to_root, 0)?;
            return Ok(());
        }
        for (i, peer) in self.peers.iter_mut().enumerate() {
            let theirs = receive(peer, i + 1)?;
            if theirs.len() != own.len() {
                return Err(failed(format!(
                    "rank {} sent {} bytes where rank 0 has {}: the ranks do not run the same configuration or version",
                    i + 1,
                    theirs.len(),
                    own.len()
                )));
            }
            combine(own, &theirs);
        }
        for (i, peer) in self.peers.iter_mut().enumerate() {
            send(peer, DATA, own).map_err(|_| ended(i + 1))?;
        }
        Ok(())
    }
}

impl Collective for Star {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_tensors(&mut self, tensors: &mut [Tensor]) -> Result<()> {
        for tensor in tensors {
            let values = tensor.f32s_mut();
            let mut bytes: Vec<u8> = bytemuck::cast_slice(values).to_vec();
            self.exchange(&mut bytes, |sum, theirs| {
                for (a, b) in sum.chunks_exact_mut(4).zip(theirs.chunks_exact(4)) {
                    let read = |x: &[u8]| f32::from_le_bytes([x[0], x[1], x[2], x[3]]);
                    let total = read(a) + read(b);
                    a.copy_from_slice(&total.to_le_bytes());
                }
            })?;
            for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(4)) {
                *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        Ok(())
    }

    fn sum(&mut self, values: &mut [f64]) -> Result<()> {
        let mut bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let read = |x: &[u8]| f64::from_le_bytes(x.try_into().unwrap_or_default());
        self.exchange(&mut bytes, |sum, theirs| {
            for (a, b) in sum.chunks_exact_mut(8).zip(theirs.chunks_exact(8)) {
                let total = read(a) + read(b);
                a.copy_from_slice(&total.to_le_bytes());
            }
        })?;
        values.iter_mut().zip(bytes.chunks_exact(8)).for_each(|(value, bytes)| *value = read(bytes));
        Ok(())
    }

    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        if self.rank > 0 {
            bytes.clear();
        }
        let sent = if self.rank > 0 { receive(&mut self.peers[0], 0).map(Some) } else { Ok(None) };
        match sent {
            Ok(Some(received)) => *bytes = received,
            Ok(None) => {
                for i in 0..self.peers.len() {
                    if send(&mut self.peers[i], DATA, bytes).is_err() {
                        let error = ended(i + 1);
                        self.tell(&error.to_string());
                        return Err(error);
                    }
                }
            }
            Err(error) => {
                self.tell(&error.to_string());
                return Err(error);
            }
        }
        Ok(())
    }

    fn tell(&mut self, reason: &str) {
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        for peer in &mut self.peers {
            // Whoever cannot be told any more has ended already.
            let _ = send(peer, ENDED, reason.as_bytes());
        }
    }
}

fn send(peer: &mut TcpStream, kind: u8, payload: &[u8]) -> std::io::Result<()> {
    let mut head = [0; 9];
    head[0] = kind;
    head[1..].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    peer.write_all(&head)?;
    peer.write_all(payload)
}

fn receive(peer: &mut TcpStream, rank: usize) -> Result<Vec<u8>> {
    let mut head = [0; 9];
    peer.read_exact(&mut head).map_err(|_| ended(rank))?;
    let length = u64::from_le_bytes(head[1..].try_into().unwrap_or_default());
    let mut payload = Vec::new();
    // Grows with what really arrives: the length may be that of a stranger's message.
    peer.take(length).read_to_end(&mut payload).map_err(|_| ended(rank))?;
    if (payload.len() as u64) < length {
        return Err(ended(rank));
    }
    match head[0] {
        DATA => Ok(payload),
        _ => Err(failed(String::from_utf8_lossy(&payload))),
    }
}

fn ended(rank: usize) -> crate::Error {
    failed(format!(
        "rank {rank} has ended without saying why (killed, or its machine is gone); start all ranks again with --resume"
    ))
}

/// Rank 0: waits for all others.
fn accept(ranks: &Ranks, deadline: Instant) -> Result<Vec<TcpStream>> {
    let place = format!("{}:{}", ranks.host, ranks.port);
    let listener = TcpListener::bind((ranks.host.as_str(), ranks.port)).map_err(|e| {
        failed(format!("rank 0 cannot listen on {place} ({e}): set MASTER_ADDR and MASTER_PORT"))
    })?;
    listener.set_nonblocking(true).map_err(|e| failed(format!("TCP: {e}")))?;
    let mut found: Vec<Option<TcpStream>> = (1..ranks.size).map(|_| None).collect();
    while found.iter().any(Option::is_none) {
        match listener.accept() {
            Ok((peer, from)) => match greet(peer, ranks.size, deadline) {
                Ok((rank, peer)) if found[rank - 1].is_none() => found[rank - 1] = Some(peer),
                Ok((rank, _)) => return Err(failed(format!("two processes say that they are rank {rank}"))),
                // A stranger, or a rank of another run: it was answered, the wait goes on.
                Err(error) => eprintln!("{from}: {error}"),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() > deadline {
                    let missing: Vec<String> = (1..ranks.size)
                        .filter(|rank| found[rank - 1].is_none())
                        .map(|rank| rank.to_string())
                        .collect();
                    return Err(failed(format!("rank {} did not come to {place}", missing.join(", "))));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(failed(format!("rank 0 at {place}: {error}"))),
        }
    }
    Ok(found.into_iter().flatten().collect())
}

fn greet(mut peer: TcpStream, size: usize, deadline: Instant) -> Result<(usize, TcpStream)> {
    let left = deadline
        .saturating_duration_since(Instant::now())
        .clamp(Duration::from_millis(1), Duration::from_secs(5));
    let mut hello = [0; 16];
    peer.set_nonblocking(false)
        .and_then(|()| peer.set_read_timeout(Some(left)))
        .and_then(|()| peer.read_exact(&mut hello))
        .map_err(|e| failed(format!("somebody connected without a greeting ({e})")))?;
    let number =
        |at: usize| u32::from_le_bytes([hello[at], hello[at + 1], hello[at + 2], hello[at + 3]]) as usize;
    let (rank, theirs) = (number(8), number(12));
    if &hello[..8] != MAGIC || theirs != size || rank == 0 || rank >= size {
        let reason =
            format!("rank 0 expects ranks 1 to {} of {size}; this was rank {rank} of {theirs}", size - 1);
        // Whether it can still hear it does not matter here.
        let _ = send(&mut peer, ENDED, reason.as_bytes());
        return Err(failed(reason));
    }
    Ok((rank, peer))
}

/// Another rank: finds rank 0, which may start later.
fn connect(ranks: &Ranks, deadline: Instant) -> Result<TcpStream> {
    loop {
        match TcpStream::connect((ranks.host.as_str(), ranks.port)) {
            Ok(mut peer) => {
                let mut hello = MAGIC.to_vec();
                hello.extend((ranks.rank as u32).to_le_bytes());
                hello.extend((ranks.size as u32).to_le_bytes());
                peer.write_all(&hello).map_err(|_| ended(0))?;
                return Ok(peer);
            }
            Err(error) if Instant::now() > deadline => {
                return Err(failed(format!(
                    "rank {} cannot reach rank 0 at {}:{} ({error})",
                    ranks.rank, ranks.host, ranks.port
                )));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
