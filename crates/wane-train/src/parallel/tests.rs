//! Several ranks on this machine, one thread each: sums, deaths, and whole runs against one process.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use wane_kernels::{Device, Tensor};

use super::{Collective, Ranks, Star};
use crate::RunConfig;
use crate::checkpoint::Changes;
use crate::observe::RunRecord;
use crate::trainer::tests::{surroundings, toy};
use crate::trainer::{Start, Surroundings, Trainer};

/// Ranks of a group at a free port of this machine.
fn ranks(size: usize) -> Vec<Ranks> {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let one = |rank| Ranks { rank, size, local_rank: rank, host: "127.0.0.1".to_owned(), port: free.port() };
    (0..size).map(one).collect()
}

/// Runs `work` on every rank at the same time; results in the order of the ranks.
fn on_all<T: Send>(size: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let ranks = ranks(size);
    thread::scope(|scope| {
        let handles: Vec<_> = ranks.into_iter().map(|ranks| scope.spawn(|| work(ranks))).collect();
        handles.into_iter().map(|handle| handle.join().expect("no panic")).collect()
    })
}

#[test]
fn sums_and_broadcasts_reach_everyone_with_the_same_bits() {
    let results = on_all(3, |ranks| {
        let mut star = Star::meet(&ranks).expect("meets");
        let mine: Vec<f32> = (0..5).map(|i| (ranks.rank * 10 + i) as f32 + 0.1).collect();
        let mut tensors = [Tensor::from_f32(&mine, &[5], &Device::Cpu).expect("floats")];
        star.sum_tensors(&mut tensors).expect("sums");
        let mut values = [1.5, ranks.rank as f64];
        star.sum(&mut values).expect("sums");
        let mut bytes = format!("from {}", ranks.rank).into_bytes();
        star.broadcast(&mut bytes).expect("sends");
        star.barrier().expect("waits");
        (tensors[0].f32s().to_vec(), values, String::from_utf8(bytes).expect("text"))
    });
    let want: Vec<f32> =
        (0..5).map(|i| (i as f32 + 0.1) + ((10 + i) as f32 + 0.1) + ((20 + i) as f32 + 0.1)).collect();
    for result in results {
        assert_eq!(result, (want.clone(), [4.5, 3.0], "from 0".to_owned()));
    }
}

#[test]
fn a_rank_that_dies_ends_all_others_with_its_number() {
    let results = on_all(3, |ranks| {
        let mut star = Star::meet(&ranks).expect("meets");
        star.barrier().expect("waits");
        if ranks.rank == 1 {
            // As a process that is killed: the connection closes without a word.
            return String::new();
        }
        star.sum(&mut [1.0]).expect_err("rank 1 is gone").to_string()
    });
    for rank in [0, 2] {
        assert!(results[rank].contains("rank 1 has ended without saying why"), "{rank}: {}", results[rank]);
    }
    // Rank 0's death reaches the others too, and a reason is passed on.
    let results = on_all(3, |ranks| {
        let mut star = Star::meet(&ranks).expect("meets");
        match ranks.rank {
            0 => String::new(),
            _ => star.barrier().expect_err("rank 0 is gone").to_string(),
        }
    });
    assert!(results[1..].iter().all(|r| r.contains("rank 0 has ended")), "{results:?}");
    let results = on_all(3, |ranks| {
        let mut star = Star::meet(&ranks).expect("meets");
        if ranks.rank == 2 {
            star.tell("rank 2 has ended: out of memory");
            return String::new();
        }
        star.barrier().expect_err("rank 2 gave up").to_string()
    });
    assert!(results[..2].iter().all(|r| r.ends_with("rank 2 has ended: out of memory")), "{results:?}");
}

#[test]
fn ranks_that_do_not_come_or_do_not_fit_are_named() {
    let all = ranks(3);
    let message = thread::scope(|scope| {
        let root = scope.spawn(|| Star::meet_within(&all[0], Duration::from_millis(300)));
        // Rank 1 comes; a rank of another run is sent away; rank 2 never comes.
        let other = Ranks { rank: 1, size: 2, ..all[0].clone() };
        let (_, refused) = (
            scope.spawn(|| Star::meet_within(&all[1], Duration::from_millis(300))),
            Star::meet_within(&other, Duration::from_millis(300)).expect_err("another run"),
        );
        assert!(refused.to_string().contains("this was rank 1 of 2"), "{refused}");
        root.join().expect("no panic").expect_err("rank 2 is missing").to_string()
    });
    assert!(message.contains("rank 2 did not come to 127.0.0.1:"), "{message}");
}

#[test]
fn the_environment_is_that_of_torchrun() {
    let read = |pairs: &[(&str, &str)]| {
        let get = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Ranks::from_environment(&get).map_err(|e| e.to_string())
    };
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[("WORLD_SIZE", "1"), ("RANK", "0")]), Ok(None));
    let all = [
        ("WORLD_SIZE", "4"),
        ("RANK", "3"),
        ("LOCAL_RANK", "1"),
        ("MASTER_ADDR", "node0"),
        ("MASTER_PORT", "29500"),
    ];
    let ranks = read(&all).expect("valid").expect("several");
    assert_eq!((ranks.rank, ranks.local_rank, ranks.port, ranks.rows(8)), (3, 1, 29500, 6..8));
    let taken = [&all[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True")]].concat();
    assert_eq!(read(&taken).expect("valid").map(|r| r.port), Some(29501));
    for (pairs, expected) in [
        (&all[..1], "RANK is not set: start with torchrun"),
        (&[("WORLD_SIZE", "2"), ("RANK", "2")][..], "RANK 2 is not below WORLD_SIZE 2"),
        (&[("WORLD_SIZE", "two")][..], "WORLD_SIZE is \"two\""),
    ] {
        let message = read(pairs).expect_err("refused");
        assert!(message.contains(expected), "{message}");
    }
}

/// The toy run of the trainer's tests as one of `ranks`.
fn part(ranks: Ranks, start: Start) -> Surroundings {
    Surroundings { ranks: Some(ranks), ..surroundings(start) }
}

fn toy_in(folder: &Path, name: &str) -> RunConfig {
    let mut config = toy(folder, "");
    config.output = folder.join(name);
    config
}

fn losses(record: &RunRecord) -> Vec<f64> {
    record.curve.iter().map(|point| point.loss).collect()
}

fn weights(config: &RunConfig) -> Vec<u8> {
    fs::read(config.output.join("model/model.safetensors")).expect("the model")
}

#[test]
fn two_ranks_train_as_one_and_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("folder");
    let one = toy_in(folder.path(), "one");
    let alone = crate::trainer::train(&one, surroundings(Start::New)).expect("trains");
    // Each of two ranks takes the rows of one of the two micro-batches.
    let mut two = toy_in(folder.path(), "two");
    two.training.accumulation = 1;
    let records = on_all(2, |ranks| crate::trainer::train(&two, part(ranks, Start::New)).expect("trains"));
    let (a, b) = (losses(&alone), losses(&records[0]));
    assert_eq!(a.len(), 12);
    for (a, b) in a.iter().zip(&b) {
        assert!((a - b).abs() < 1e-6 * a, "{a} {b}");
    }
    // Both ranks saw the losses of the whole batch; only rank 0 wrote.
    assert_eq!(losses(&records[1]), b);
    assert_eq!(RunRecord::read(&two.output).expect("the record").curve.len(), 12);
    assert_eq!(fs::read_dir(two.output.join("events")).expect("reads").count(), 1);

    // Stopped on rank 1 after some steps, then resumed: the same weights as in one go.
    let parts = RunConfig { output: folder.path().join("parts"), ..two.clone() };
    let stopped = on_all(2, |ranks| {
        let around = part(ranks.clone(), Start::New);
        let stop = around.stop.clone();
        let trainer = Trainer::new(&parts, around).expect("opens");
        thread::scope(|scope| {
            let run = scope.spawn(|| trainer.run().expect("stops"));
            if ranks.rank == 1 {
                while !parts.output.join("checkpoints/step-00000004").exists() {
                    thread::sleep(Duration::from_millis(1));
                }
                stop.store(true, Ordering::Relaxed);
            }
            run.join().expect("no panic")
        })
    });
    assert_eq!(stopped[0].steps, stopped[1].steps);
    let resumed = on_all(2, |ranks| {
        crate::trainer::train(&parts, part(ranks, Start::Resume(Changes::Refuse))).expect("resumes")
    });
    assert_eq!((resumed[0].status.as_str(), resumed[0].steps), ("finished", 12));
    assert_eq!(weights(&parts), weights(&two));
}

#[test]
fn a_rank_that_fails_in_the_middle_of_a_run_ends_the_other() {
    let folder = tempfile::tempdir().expect("folder");
    let config = toy_in(folder.path(), "out");
    let outcomes = on_all(2, |ranks| {
        let rank = ranks.rank;
        let mut config = config.clone();
        config.training.accumulation = 1;
        let mut trainer = Trainer::new(&config, part(ranks, Start::New)).expect("opens");
        if rank == 0 {
            return trainer.run().expect_err("rank 1 is gone").to_string();
        }
        // One step as the run makes it, then nothing more.
        trainer.should_stop().expect("asks");
        let batch = trainer.mixture.batch(0, 2..4).expect("rows");
        trainer.train_step(&batch).expect("steps");
        String::new()
    });
    assert!(outcomes[0].contains("rank 1 has ended without saying why"), "{}", outcomes[0]);
    let record = RunRecord::read(&config.output).expect("the record");
    assert!(record.status.contains("rank 1 has ended"), "{}", record.status);
}

#[test]
fn a_batch_that_cannot_be_shared_and_different_configurations_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let config = toy_in(folder.path(), "out");
    let ranks = Ranks { rank: 0, size: 3, local_rank: 0, host: "127.0.0.1".to_owned(), port: 1 };
    let message = Trainer::new(&config, part(ranks, Start::New)).expect_err("4 rows for 3").to_string();
    assert!(
        message.contains("training.batch 4 is not divisible by 3 processes times training.accumulation 2"),
        "{message}"
    );
    let outcomes = on_all(2, |ranks| {
        let mut config = config.clone();
        config.seed = ranks.rank as u64;
        let trainer = Trainer::new(&config, part(ranks, Start::New));
        trainer.and_then(Trainer::run).expect_err("different seeds").to_string()
    });
    assert!(outcomes.iter().all(|o| o.contains("configuration differs from that of rank 0")), "{outcomes:?}");
}
