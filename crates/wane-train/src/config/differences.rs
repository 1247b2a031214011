//! What changed between the configuration of a checkpoint and the one given to `--resume`.

use super::RunConfig;

/// Settings that may change freely: they affect what is shown and kept, not the weights.
const FREE: [&str; 7] = ["output", "device", "log.", "checkpoint.", "samples.", "data.threads", "data.ahead"];

/// One `key: old -> new` for every setting that differs and affects the weights or the record.
pub fn differences(old: &RunConfig, new: &RunConfig) -> Vec<String> {
    let flatten = |config: &RunConfig| {
        let mut flat = std::collections::BTreeMap::new();
        let value = serde_json::to_value(config).expect("a configuration is plain data");
        walk(String::new(), &value, &mut flat);
        flat
    };
    let (old, new) = (flatten(old), flatten(new));
    let absent = "absent".to_owned();
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| !FREE.iter().any(|free| key.starts_with(free)))
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| {
            let (a, b) = (old.get(key).unwrap_or(&absent), new.get(key).unwrap_or(&absent));
            format!("{key}: {a} -> {b}")
        })
        .collect()
}

fn walk(key: String, value: &serde_json::Value, flat: &mut std::collections::BTreeMap<String, String>) {
    let join = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        serde_json::Value::Null => {}
        serde_json::Value::Object(map) => map.iter().for_each(|(name, v)| walk(join(name), v, flat)),
        serde_json::Value::Array(items) if items.iter().any(|item| item.is_object()) => {
            items.iter().enumerate().for_each(|(i, v)| walk(join(&i.to_string()), v, flat));
        }
        other => {
            flat.insert(key, other.to_string());
        }
    }
}
