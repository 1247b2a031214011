//! Reading SQuAD v2.0 (Rajpurkar et al. 2018) and HotpotQA (Yang et al. 2018, distractor setting) as NVIDIA's
//! `qa.py` reads them.
//!
//! Does not do: SQuAD 1.1, whose questions are not marked as answerable.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Question, Questions};
use crate::{Error, Result};

#[derive(Deserialize)]
struct Squad {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<SquadQuestion>,
}

#[derive(Deserialize)]
struct SquadQuestion {
    question: String,
    is_impossible: bool,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
}

#[derive(Deserialize)]
struct Hotpot {
    question: String,
    answer: String,
    context: Vec<(String, Vec<String>)>,
}

/// Sorted texts without repetition, and their positions.
struct Documents {
    texts: Vec<String>,
    at: HashMap<String, usize>,
}

impl Documents {
    fn new(mut texts: Vec<String>) -> Self {
        texts.sort();
        texts.dedup();
        let at = texts.iter().enumerate().map(|(i, text)| (text.clone(), i)).collect();
        Self { texts, at }
    }
}

impl Questions {
    /// Reads SQuAD v2.0's JSON; unanswerable questions are left out.
    ///
    /// # Errors
    /// A file that cannot be read, has another form, or no answerable question.
    pub fn squad(path: &Path) -> Result<Self> {
        let squad: Squad = json(path, "SQuAD v2.0")?;
        let texts = squad.data.iter().flat_map(|a| &a.paragraphs).map(|p| p.context.clone()).collect();
        let documents = Documents::new(texts);
        let mut questions = Vec::new();
        for article in squad.data {
            let of_article: Vec<usize> =
                article.paragraphs.iter().map(|p| documents.at[&p.context]).collect();
            for paragraph in article.paragraphs {
                let own = documents.at[&paragraph.context];
                for question in paragraph.qas.into_iter().filter(|q| !q.is_impossible) {
                    questions.push(Question {
                        question: question.question,
                        answers: question.answers.into_iter().map(|a| a.text).collect(),
                        documents: vec![own],
                        related: of_article.iter().copied().filter(|&i| i != own).collect(),
                    });
                }
            }
        }
        checked(path, questions, documents)
    }

    /// Reads HotpotQA's JSON of the distractor setting.
    ///
    /// # Errors
    /// A file that cannot be read, has another form, or no question.
    pub fn hotpotqa(path: &Path) -> Result<Self> {
        let data: Vec<Hotpot> = json(path, "HotpotQA (distractor setting)")?;
        let text = |(title, sentences): &(String, Vec<String>)| format!("{title}\n{}", sentences.concat());
        let documents = Documents::new(data.iter().flat_map(|q| &q.context).map(text).collect());
        let questions = data
            .iter()
            .map(|q| Question {
                question: q.question.clone(),
                answers: vec![q.answer.clone()],
                documents: q.context.iter().map(|c| documents.at[&text(c)]).collect(),
                related: Vec::new(),
            })
            .collect();
        checked(path, questions, documents)
    }
}

fn json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::Invalid(format!("{}: expected {what}'s JSON: {e}", path.display())))
}

fn checked(path: &Path, questions: Vec<Question>, documents: Documents) -> Result<Questions> {
    let wrong = |what: String| Err(Error::Invalid(format!("{}: {what}", path.display())));
    if questions.is_empty() {
        return wrong("no question with an answer in it".into());
    }
    match questions.iter().find(|q| q.answers.is_empty()) {
        Some(question) => wrong(format!("the question `{}` has no answer", question.question)),
        None => Ok(Questions { questions, documents: documents.texts }),
    }
}
