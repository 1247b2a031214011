//! Reports of small made-up record sets: numbers checked by hand, missing cells, mixed and malformed
//! input. Nothing here is a measurement.

mod parts;
mod seeds;

use std::io::Write as _;
use std::path::PathBuf;

use super::*;
use crate::ruler::prompt::PromptForm;
use crate::runner::record::Record;
use crate::runner::store::tests::{record, with};

const QUEST: &str = "quest:block=64,k=4,first=1,local=1,count_forced=true,dense_layers=0,share=group_sum,sparse_from=first_generated,selector=own";

fn quest(k: usize) -> String {
    QUEST.replace("k=4", &format!("k={k}"))
}

/// Two models, dense and Quest with k=16 and k=4, two tasks of ten samples.
fn pair() -> Vec<Record> {
    let mut all = Vec::new();
    for sample in 0..10 {
        for task in ["niah_single_1", "niah_multikey_3"] {
            let right = |limit: usize| f64::from(u8::from(sample < limit));
            for (method, attention, memory) in [("dense".into(), 10, 10), (quest(16), 8, 9), (quest(4), 2, 7)]
            {
                for (model, limit) in [("memory", memory), ("attention", attention)] {
                    let record = record(model, &method, sample, right(limit));
                    all.push(with(record, |r| {
                        r.cell.task = task.into();
                        r.origin.context = 4096;
                    }));
                }
            }
        }
    }
    all
}

fn lines(records: &[Record]) -> String {
    records.iter().map(|r| serde_json::to_string(r).unwrap() + "\n").collect()
}

struct Report {
    // Keeps the folder until the test is over.
    _folder: tempfile::TempDir,
    page: String,
    out: PathBuf,
    written: Written,
}

impl Report {
    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.out.join(name)).unwrap()
    }
}

fn try_report(text: &str, metric: &str) -> crate::Result<Report> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("records.jsonl"), text).unwrap();
    let out = folder.path().join("out");
    let written = write(&[folder.path().to_owned()], &out, &Options { metric: metric.into() })?;
    let page = std::fs::read_to_string(&written.page).unwrap();
    Ok(Report { _folder: folder, page, out, written })
}

fn report(records: &[Record]) -> Report {
    try_report(&lines(records), "task").unwrap()
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected `{part}` in\n{text}");
    }
}

#[test]
fn tables_hold_the_numbers_of_the_records() {
    let report = report(&pair());
    assert_eq!((report.written.records, report.written.notes.len()), (120, 0));
    // Without memory comes first although the records begin with memory; 2 of 10 is 5.7 to 51.0.
    contains(
        &report.file("tables.md"),
        &[
            "| model | S1 | MK3 | mean | n |",
            "| **quest:block=64,k=4, budget 1/16** | | | | |",
            "| attention | 20.0 (5.7 to 51.0) | 20.0 (5.7 to 51.0) | 20.0 (8.1 to 41.6) | 20 |",
            "| gain | +50.0 (",
            // Table 3's rows at block 64 and k 4, mean of these two tasks.
            "| ratplus-7b-100bt attention, published | 100.0 | 0.2 | 50.1 |  |",
            "| ratplus-7b-100bt gain, published | 0.0 | +18.4 | +9.2 |  |",
        ],
    );
    contains(
        &report.file("accuracy.csv"),
        &[
            "1,4096,attention,hash of attention,false,\"quest:block=64,k=4,",
            "0.062500,niah_multikey_3,10,0.200000,0.056682,0.509838,,\n",
        ],
    );
    contains(
        &report.file("gains.csv"),
        &["1,attention,memory,\"quest:block=64,k=4", ",mean,20,0.500000,0.3"],
    );
    // One line a published row and task, and the head.
    assert_eq!(report.file("published.csv").lines().count(), 1 + 8 * super::published::rows().len());
    contains(
        &report.page,
        &[
            "memory minus attention, mean of the tasks",
            "Under Quest, memory gains over attention</th><td>holds in 1 of 2</td><td>+10.0 (0.0 to +25.0) at 64:16 (1/4), +50.0 (+30.0 to +70.0) at 64:4 (1/16)</td><td>ratplus-7b-100bt +24.5, +9.2; olmo2-7b",
            "Under Quest, the gain at 1/16 is larger than at 1/4</th><td>holds</td><td>+40.0 (",
            "Without sparsity, memory gains over attention</th><td>not decided</td><td>0.0 (0.0 to 0.0)</td>",
            "<th scope=\"rowgroup\" colspan=\"5\"><span>quest:block=64,k=4, budget 1/16</span></th>",
            "attention, quest:block=64,k=4: 20.0 % (8.1 to 41.6), 20 samples",
            "wane eval --model attention --method &#39;quest:block=64,k=4&#39; --tasks niah_single_1,niah_multikey_3 --context 4096",
            "1.0 MB<small>1.000 of dense</small>",
            "prefers-color-scheme:dark",
        ],
    );
}

#[test]
fn the_page_is_whole_and_asks_nothing_of_the_network() {
    let report = report(&pair());
    assert_eq!(balance(&report.page), Vec::<String>::new());
    for svg in report.written.files.iter().filter(|f| f.extension().is_some_and(|e| e == "svg")) {
        let text = std::fs::read_to_string(svg).unwrap();
        assert_eq!(balance(&text), Vec::<String>::new());
        contains(&text, &["<title id=\"figure-t\">", "<desc id=\"figure-d\">"]);
    }
    for word in ["<script", "src=", "@import", "url(", "<link rel=\"stylesheet\""] {
        assert!(!report.page.contains(word), "{word}");
    }
    check_links(&report.page);
}

/// Links within the page have targets, and ids are unique.
fn check_links(page: &str) {
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for target in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(ids.contains(&target), "{target}");
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(all, ids.len());
}

/// Elements that are not closed in order.
fn balance(text: &str) -> Vec<String> {
    let (mut open, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name: String = tag.chars().take_while(|c| !c.is_whitespace()).collect();
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop().as_deref() != Some(name) {
                return vec![format!("/{name}")];
            }
        } else if !tag.ends_with('/') && !["!doctype", "meta", "link", "wbr"].contains(&name.as_str()) {
            open.push(name);
        }
    }
    open
}

#[test]
fn the_same_records_give_the_same_files() {
    let (first, second) = (report(&pair()), report(&pair()));
    let hide =
        |report: &Report, text: String| text.replace(&report.out.parent().unwrap().display().to_string(), "");
    for path in &first.written.files {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".png") {
            let picture = |report: &Report| std::fs::read(report.out.join(name)).unwrap();
            assert!(picture(&first) == picture(&second), "{name}");
            continue;
        }
        assert_eq!(hide(&first, first.file(name)), hide(&second, second.file(name)), "{name}");
    }
}

#[test]
fn missing_cells_say_why() {
    let mut records = pair();
    records.retain(|r| {
        !(r.cell.method == quest(4)
            && r.cell.model == "memory"
            && (r.cell.task == "niah_single_1" || r.sample > 3))
    });
    records.retain(|r| !(r.cell.method == quest(16) && r.cell.model == "memory"));
    let report = report(&records);
    contains(
        &report.file("tables.md"),
        &[
            "| memory | \u{2013} [1] | \u{2013} [1] | \u{2013} [1] | \u{2013} [1] |",
            "[1] no record of this model under this method",
            "no record of this task",
            "some tasks are missing",
            "4 samples a task; other rows have 10",
        ],
    );
    contains(&report.file("accuracy.csv"), &[",mean,0,,,,,some tasks are missing\n"]);
    contains(&report.page, &["title=\"no record of this task\""]);
}

#[test]
fn random_seeds_are_one_row_with_the_population_deviation() {
    let mut records = Vec::new();
    for (seed, right) in [(0, 2), (1, 4)] {
        for sample in 0..10 {
            let method = format!("{},seed={seed}", QUEST.replace("selector=own", "selector=random"));
            records.push(record("attention", &method, sample, f64::from(u8::from(sample < right))));
        }
    }
    let report = report(&records);
    // 20 and 40 percent: mean 30, population deviation 10; the interval is that of ten samples.
    contains(
        &report.file("tables.md"),
        &[
            "mean of 2 seeds, \u{b1} population standard deviation**",
            "| attention | 30.0 \u{b1} 10.0 (10.8 to 60.3)",
            "selector seeds 0, 1",
        ],
    );
}

#[test]
fn other_contexts_and_versions_are_kept_apart() {
    let mut records = pair();
    records.push(with(record("memory", "dense", 0, 0.0), |r| r.origin.context = 2048));
    records.push(with(record("memory", "dense", 0, 0.0), |r| {
        r.cell.version = 0;
        r.origin.context = 4096;
    }));
    let report = report(&records);
    assert_eq!(
        report.written.notes,
        [
            "the records are of 3 kinds (different versions, contexts), which are kept apart: each kind has its own section"
        ]
    );
    contains(
        &report.page,
        &["Records 2: prompt form prefix, context 2048", "No figure: the records hold no sparse method"],
    );
    contains(&report.file("accuracy.csv"), &["2,2048,memory,"]);
}

#[test]
fn repeated_cut_and_newer_records_are_left_out_and_said() {
    let mut text = lines(&pair());
    text.push_str(&lines(&[with(record("memory", "dense", 0, 0.0), |r| r.origin.context = 4096)]));
    text.push_str("{\"version\":2,\"something\":\"new\"}\n\n{\"version\":1,\"mod");
    let report = try_report(&text, "task").unwrap();
    assert_eq!(report.written.records, 120);
    let notes = report.written.notes.join("\n");
    contains(
        &notes,
        &[
            "the last line (line 124) is cut off and was left out",
            "1 records repeat an example that came before and were left out; 1 of them have another score",
            "1 records of a newer version than 1 were left out",
        ],
    );
    contains(&report.page, &["About the records"]);
}

#[test]
fn unknown_methods_are_in_the_tables() {
    let report = report(&[record("m", "hydra:heads=3", 0, 1.0), record("m", "dense", 0, 1.0)]);
    contains(&report.written.notes.join("\n"), &["method `hydra` is unknown to this version"]);
    contains(&report.file("tables.md"), &["| **hydra:heads=3, budget unknown** |"]);
}

#[test]
fn names_are_escaped() {
    let report = report(&[with(record("m", "dense", 0, 1.0), |r| r.cell.model = "<script>&\"".into())]);
    assert!(!report.page.contains("<script>"));
    contains(&report.page, &["&lt;script&gt;&amp;&quot;"]);
}

#[test]
fn bad_input_is_a_clear_error() {
    let error = |text: &str, metric: &str| try_report(text, metric).err().unwrap().to_string();
    contains(&error("", "task"), &["nothing to report, no records in "]);
    contains(
        &error("{\"version\":9}\n", "task"),
        &["1 records are of a newer version than 1: use a newer wane"],
    );
    contains(&error("{}\n{}\n", "task"), &["records.jsonl, line 1: expected a record"]);
    contains(
        &error(&lines(&pair()), "bleu"),
        &["none of 120 records has a score `bleu`: choose another --scorer"],
    );
    let wrong = lines(&[record("m", "dense", 0, 1.5)]);
    contains(&error(&wrong, "task"), &["line 1: expected a score between 0 and 1, not 1.5"]);
    let folder = tempfile::tempdir().unwrap();
    let options = Options { metric: "task".into() };
    let error = write(&[folder.path().to_owned()], folder.path(), &options).unwrap_err().to_string();
    contains(&error, &["holds no records.jsonl (or hits.jsonl, memory.json, record.json): name the folder"]);
}

#[test]
fn compressed_records_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let packed = ruzstd::encoding::compress_to_vec(
        lines(&pair()).as_bytes(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    std::fs::write(folder.path().join("records.jsonl.zst"), packed).unwrap();
    let written = write(
        &[folder.path().to_owned()],
        &folder.path().join("out"),
        &Options { metric: "comma_set".into() },
    )
    .unwrap();
    assert_eq!(written.records, 120);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn gzip_is_read_and_its_early_end_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.jsonl.gz");
    let packed = gzip(lines(&pair()).as_bytes());
    let options = Options { metric: "protocol".into() };
    std::fs::write(&path, &packed).unwrap();
    let write = || write(std::slice::from_ref(&path), &folder.path().join("out"), &options);
    assert_eq!(write().unwrap().records, 120);
    std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
    let written = write().unwrap();
    assert!(written.records > 0 && written.records < 120, "{}", written.records);
    contains(&written.notes.join("\n"), &["the packed file ends too early, after line"]);
    std::fs::write(&path, lines(&pair())).unwrap();
    contains(&write().unwrap_err().to_string(), &["some.jsonl.gz", "invalid gzip header"]);
}

#[test]
fn tokenizers_and_prompt_forms_are_kept_apart() {
    let mut records = pair();
    records.push(with(record("memory", "dense", 0, 0.0), |r| {
        r.origin.context = 4096;
        r.origin.tokenizer = "u".into();
        r.origin.recipe.prompt_form = PromptForm::Input;
    }));
    let report = report(&records);
    contains(
        &report.written.notes.join("\n"),
        &["the records are of 2 kinds (different tokenizers, prompt forms), which are kept apart"],
    );
    contains(&report.page, &["Records 2: prompt form input, context 4096"]);
}

#[test]
fn the_protocols_scorer_follows_the_prompt_form() {
    let scores = [("string_match_all".to_owned(), 1.0), ("comma_set".to_owned(), 0.0)];
    let scored = Record { scores: scores.into(), ..record("m", "dense", 0, 0.0) };
    let input = with(scored.clone(), |r| r.origin.recipe.prompt_form = PromptForm::Input);
    let mean = |records: &[Record], metric: &str| {
        let report = try_report(&lines(records), metric).unwrap();
        let table = report.file("accuracy.csv");
        table.lines().nth(1).unwrap().split(',').nth(9).unwrap().to_owned()
    };
    assert_eq!(mean(std::slice::from_ref(&scored), "protocol"), "1.000000");
    assert_eq!(mean(std::slice::from_ref(&input), "protocol"), "0.000000");
    assert_eq!(mean(&[input], "task"), "1.000000");
    assert_eq!(mean(&[scored], "comma_set"), "0.000000");
}

#[test]
fn a_scorer_that_was_not_recorded_is_computed() {
    // One of two answers occurs.
    let references = vec!["1".to_owned(), "2".to_owned()];
    let records: Vec<Record> =
        (0..2).map(|i| Record { references: references.clone(), ..record("m", "dense", i, 0.0) }).collect();
    for (metric, mean) in [("string_match_mean", "0.500000"), ("string_match_part", "1.000000")] {
        let report = try_report(&lines(&records), metric).unwrap();
        let table = report.file("accuracy.csv");
        assert_eq!(table.lines().nth(1).unwrap().split(',').nth(9).unwrap(), mean, "{metric}");
        contains(&report.page, &[&format!("scorer {metric}")]);
    }
}

#[test]
fn one_sample_a_task_has_no_interval() {
    let records: Vec<Record> = pair().into_iter().filter(|r| r.sample == 5).collect();
    let report = report(&records);
    contains(&report.written.notes.join("\n"), &["an interval needs at least 2"]);
    contains(&report.page, &["needs at least 2 samples of every task", "some gains have no interval (-)"]);
    contains(
        &report.file("tables.md"),
        &[
            "| gain | +100.0 (-) [1] |",
            "| Under Quest, memory gains over attention | not decided | 0.0 (-) at 64:16 (1/4), +100.0 (-)",
        ],
    );
    contains(&report.file("gains.csv"), &[",mean,2,1.000000,,,no interval"]);
    contains(&report.written.summary, &["  +100.0      - ", "No interval (-) where a task has fewer than 2"]);
}

#[test]
fn flops_are_shown_where_records_have_them() {
    let flops = Some(crate::runner::record::Flops { prefill: 2e9, per_step: 3e6 });
    let with = Record { flops, ..record("m", "dense", 0, 1.0) };
    let page = report(std::slice::from_ref(&with)).page;
    contains(&page, &["<td>2.0 G<small>1.000 of dense</small></td><td>3.0 M<small>"]);
    let missing = report(&[with, record("m", "dense", 1, 1.0)]).page;
    contains(&missing, &["the records were written before FLOPs were recorded"]);
}

#[test]
fn pictures_are_whole() {
    let report = report(&pair());
    let of = |ending: &str| {
        let files = report.written.files.iter().filter(|f| f.extension().is_some_and(|e| e == ending));
        files.map(|f| f.with_extension("")).collect::<Vec<_>>()
    };
    assert_eq!((of("png"), of("png").len()), (of("svg"), 3));
    let file = std::fs::read(report.out.join("accuracy-1.png")).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let picture = reader.next_frame(&mut rgb).unwrap();
    let (width, height) = (picture.width as usize, picture.height as usize);
    // Three panels (mean and two tasks) of 164 in a row, gaps and margins, twice the size.
    assert_eq!(width, 2 * (16 + 3 * (164 + 10)));
    assert!(height > 2 * 142 && height < 2 * 260, "{height}");
    // Paper is white; text, axes and two series are not.
    let inked = rgb.chunks(3).filter(|pixel| *pixel != [255; 3]).count();
    assert!(inked > width * height / 100 && inked < width * height / 4, "{inked} of {}", width * height);
}

/// Compares with `tests/snapshots/NAME`; with `UPDATE_SNAPSHOTS` set, writes it instead.
fn snapshot(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/report/tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let line = text.lines().zip(expected.lines()).position(|(a, b)| a != b).map_or(0, |i| i + 1);
    assert!(
        text == expected,
        "{name} differs at line {line}: look at it, then run again with UPDATE_SNAPSHOTS=1\n{text}"
    );
}

#[test]
fn tables_figures_and_summary_are_as_before() {
    let report = report(&pair());
    let folder = report.out.parent().unwrap().display().to_string();
    snapshot("tables.md", &report.file("tables.md").replace(&folder, "FOLDER"));
    snapshot("gains-1.svg", &report.file("gains-1.svg"));
    snapshot("accuracy-1-quest-block-64.svg", &report.file("accuracy-1-quest-block-64.svg"));
    snapshot("summary.txt", &report.written.summary);
}

#[test]
fn the_summary_fits_a_terminal() {
    let summary = report(&pair()).written.summary;
    let line = summary.lines().find(|l| l.starts_with("quest:block=64,k=4")).unwrap();
    contains(
        line,
        &["1/16", " 20.0", " 70.0", "+50.0  +30.0 to  +70.0", "\u{2502}\u{2588}\u{2588}\u{2588}", "1.0 MB"],
    );
    assert!(summary.lines().all(|l| l.chars().count() < 120), "{summary}");
}

#[test]
fn groups_of_methods() {
    let named = |text: &str| {
        let method = wane_attention::Plan::parse(text).unwrap().canonical();
        let method = super::method::Method::parse(&method);
        format!("{}: {}", method.group(), method.short_label())
    };
    assert_eq!(named("snapkv:k=512"), "SnapKV: 512");
    assert_eq!(named("snapkv:k=512,kernel=15,pool=max"), "SnapKV (wide pooling): 512, pool=max, kernel=15");
    assert_eq!(named("snapkv:k=512,first=4"), "SnapKV (first tokens kept): 512, first=4");
    assert_eq!(named("snapkv:k=512,first=4,selector=random,seed=1"), "Random selectors: snapkv 512, first=4");
}

#[test]
fn budgets_of_methods() {
    let budget = |text: &str| super::method::Method::parse(text).budget(4096);
    assert_eq!(budget("dense"), Some(1.0));
    assert_eq!(budget(QUEST), Some(1.0 / 16.0));
    assert_eq!(budget("moba:block=128,k=8+snapkv:k=512"), Some(1.0 / 8.0));
    assert_eq!(budget("streaming:window=1020,first=4"), Some(0.25));
    assert_eq!(budget("dilated:d=16,window=0,initial=0"), Some(1.0 / 16.0));
    assert_eq!([budget("dilated:d=0"), budget("hydra"), budget("quest:k=x")], [None; 3]);
    assert_eq!([0.25, 1.0 / 64.0, 1.0, 0.3].map(super::method::budget_name), ["1/4", "1/64", "1", "0.300"]);
}
