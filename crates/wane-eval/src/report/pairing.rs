//! Which models are compared, and which pairs differ in their training seed alone: by names, since records know
//! nothing of training.
//!
//! A name is read as words, the letters and digits between other characters.
//! - A model with memory is compared with the one model without memory whose words are the same, the words
//!   `attention` and `memory` apart: `memory-s2` with `attention-s2`.
//! - Where no one model fits, and for models without memory that fit none, it is the first model.
//! - Pairs by name whose words differ in their seed alone (`s2`, `seed2`, `seed 2`, or none) are training seeds of
//!   one backbone pair.

use std::collections::BTreeMap;

/// What a rule sees of a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) memory: bool,
}

/// Two models, by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) first: usize,
    /// What gains, or loses.
    pub(super) second: usize,
}

/// Pairs that differ in their training seed alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seeds {
    /// Places in the list of pairs, two at least.
    pub(super) pairs: Vec<usize>,
    /// Names of the seeds, one a pair.
    pub(super) names: Vec<String>,
    /// The two models without their seed.
    pub(super) models: [String; 2],
}

/// How a model looks in figures: models of one backbone share a colour, seeds differ in their markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) colour: usize,
    pub(super) marker: usize,
}

/// The pairs, in the order of their second models.
pub(super) fn pairs(models: &[Named<'_>]) -> Vec<Pair> {
    let partner = |second: usize| {
        let fits = |first: &usize| {
            models[second].memory && !models[*first].memory && rest(models[*first]) == rest(models[second])
        };
        let fitting: Vec<usize> = (0..models.len()).filter(fits).collect();
        if let [one] = fitting[..] { Some(one) } else { None }
    };
    let partners: Vec<Option<usize>> = (0..models.len()).map(partner).collect();
    let pair = |second: usize| match partners[second] {
        Some(first) => Some(Pair { first, second }),
        None if second == 0 || partners.contains(&Some(second)) => None,
        None => Some(Pair { first: 0, second }),
    };
    (0..models.len()).filter_map(pair).collect()
}

/// The training seeds among the pairs.
pub(super) fn seeds(models: &[Named<'_>], pairs: &[Pair]) -> Vec<Seeds> {
    let mut families: Vec<(Vec<String>, Seeds)> = Vec::new();
    for (place, pair) in pairs.iter().enumerate() {
        let (first, second) = (models[pair.first], models[pair.second]);
        if !second.memory || first.memory || rest(first) != rest(second) {
            continue;
        }
        let (key, seed) = without_seed(rest(second));
        let name = seed.unwrap_or_else(|| "not named".into());
        match families.iter_mut().find(|(other, _)| *other == key) {
            Some((_, family)) => {
                family.pairs.push(place);
                family.names.push(name);
            }
            None => {
                let models = [first, second].map(|m| without_seed(words(m.name)).0.join("-"));
                families.push((key, Seeds { pairs: vec![place], names: vec![name], models }));
            }
        }
    }
    let distinct = |family: &Seeds| {
        let mut names = family.names.clone();
        names.sort_unstable();
        names.dedup();
        names.len() > 1 && names.len() == family.names.len()
    };
    families.into_iter().map(|(_, family)| family).filter(distinct).collect()
}

/// The looks of all models of a report, so that a model looks the same in every figure.
#[derive(Debug)]
pub(super) struct Looks(BTreeMap<String, Look>);

impl Looks {
    /// Of these models; of a name that comes more than once the first counts.
    pub(super) fn of<'a>(models: impl Iterator<Item = Named<'a>>) -> Self {
        let mut distinct: Vec<Named<'_>> = Vec::new();
        for model in models {
            if !distinct.iter().any(|known| known.name == model.name) {
                distinct.push(model);
            }
        }
        distinct.sort_by_key(|model| model.memory);
        let looks = alone(&distinct);
        Self(distinct.iter().zip(looks).map(|(model, look)| (model.name.to_owned(), look)).collect())
    }

    /// The looks of some of them. Weights that share a name are told apart, so they look as if they were alone.
    pub(super) fn some(&self, models: &[Named<'_>]) -> Vec<Look> {
        let known: Option<Vec<Look>> = models.iter().map(|model| self.0.get(model.name).copied()).collect();
        let shared = |model: &Named<'_>| models.iter().filter(|other| other.name == model.name).count() > 1;
        known.filter(|_| !models.iter().any(shared)).unwrap_or_else(|| alone(models))
    }
}

/// The looks of models of which no others are shown.
fn alone(models: &[Named<'_>]) -> Vec<Look> {
    let pairs = pairs(models);
    let seeds = seeds(models, &pairs);
    if seeds.is_empty() {
        return (0..models.len()).map(|i| Look { colour: i, marker: i }).collect();
    }
    let mut looks: Vec<Option<Look>> = vec![None; models.len()];
    for (family, of) in seeds.iter().enumerate() {
        for (marker, place) in of.pairs.iter().enumerate() {
            looks[pairs[*place].first] = Some(Look { colour: 2 * family, marker });
            looks[pairs[*place].second] = Some(Look { colour: 2 * family + 1, marker });
        }
    }
    let mut next = 2 * seeds.len();
    let other = |look: Option<Look>| {
        look.unwrap_or_else(|| {
            next += 1;
            Look { colour: next - 1, marker: next - 1 }
        })
    };
    looks.into_iter().map(other).collect()
}

fn words(name: &str) -> Vec<String> {
    name.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

/// The words that two models of a pair share.
fn rest(model: Named<'_>) -> Vec<String> {
    words(model.name).into_iter().filter(|word| word != "attention" && word != "memory").collect()
}

/// Words without a seed, and the seed.
fn without_seed(words: Vec<String>) -> (Vec<String>, Option<String>) {
    let number = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let (mut kept, mut seed) = (Vec::<String>::new(), None);
    for word in words {
        let digits = word.strip_prefix("seed").or_else(|| word.strip_prefix('s')).unwrap_or_default();
        if number(digits) {
            seed = Some(digits.to_owned());
        } else if number(&word) && kept.last().is_some_and(|last| last == "seed") {
            kept.pop();
            seed = Some(word);
        } else {
            kept.push(word);
        }
    }
    (kept, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(names: &[&'a str]) -> Vec<Named<'a>> {
        names.iter().map(|name| Named { name, memory: name.contains("memory") }).collect()
    }

    fn compared(names: &[&str]) -> Vec<String> {
        let all = pairs(&named(names));
        all.iter().map(|p| format!("{} over {}", names[p.second], names[p.first])).collect()
    }

    #[test]
    fn partners_share_their_words() {
        assert_eq!(compared(&["attention", "memory"]), ["memory over attention"]);
        assert_eq!(
            compared(&["attention-s1", "attention-s2", "memory-s2", "memory-s1"]),
            ["memory-s2 over attention-s2", "memory-s1 over attention-s1"]
        );
        assert_eq!(
            compared(&["runs/s1/attention", "runs/s1/memory"]),
            ["runs/s1/memory over runs/s1/attention"]
        );
        // Without a partner by name: over the first one, and so are models without memory.
        assert_eq!(
            compared(&["attention", "attention-window", "memory", "memory-added"]),
            ["attention-window over attention", "memory over attention", "memory-added over attention"]
        );
        // Two of the same words: no one partner.
        assert_eq!(
            compared(&["base", "attention", "attention", "memory"]).last().unwrap(),
            "memory over base"
        );
        assert_eq!(compared(&["a", "b"]), ["b over a"]);
        assert_eq!(compared(&["memory"]), Vec::<String>::new());
    }

    #[test]
    fn seeds_are_words_of_their_own() {
        let families = |names: &[&str]| {
            let models = named(names);
            seeds(&models, &pairs(&models)).into_iter().map(|s| (s.models, s.names)).collect::<Vec<_>>()
        };
        let both = families(&[
            "attention",
            "attention-s1",
            "attention-seed_2-sft",
            "attention-s3-sft",
            "memory",
            "memory-s1",
            "memory-seed_2-sft",
            "memory-s3-sft",
        ]);
        assert_eq!(
            both[0],
            (["attention", "memory"].map(String::from), vec!["not named".into(), "1".into()])
        );
        assert_eq!(
            both[1],
            (["attention-sft", "memory-sft"].map(String::from), vec!["2".into(), "3".into()])
        );
        assert_eq!(both.len(), 2);
        assert_eq!(families(&["attention-s1", "memory-s1"]), []);
        // A size is no seed.
        assert_eq!(families(&["attention-128", "memory-128", "attention-256", "memory-256"]), []);
    }

    #[test]
    fn backbones_share_a_colour() {
        let models = named(&["attention-s1", "attention-s2", "attention-window", "memory-s1", "memory-s2"]);
        let looks: Vec<[usize; 2]> = alone(&models).iter().map(|l| [l.colour, l.marker]).collect();
        assert_eq!(looks, [[0, 0], [0, 1], [2, 2], [1, 0], [1, 1]]);
    }

    #[test]
    fn a_model_looks_the_same_in_every_figure() {
        let all = Looks::of(named(&["attention", "memory", "attention-thirds", "attention"]).into_iter());
        let looks = |names: &[&str]| all.some(&named(names)).iter().map(|l| l.colour).collect::<Vec<_>>();
        assert_eq!(looks(&["attention", "attention-thirds", "memory"]), [0, 1, 2]);
        assert_eq!(looks(&["memory"]), [2]);
        assert_eq!(looks(&["attention", "memory"]), [0, 2]);
        // Other weights of the same name.
        assert_eq!(looks(&["memory", "memory"]), [0, 1]);
    }
}
