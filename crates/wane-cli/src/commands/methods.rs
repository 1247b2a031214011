//! `wane methods`: the sparse methods and their keys, generated from the registry.

use std::io::Write;

use wane_attention::grammar::{Key, Kind, Plan};
use wane_attention::methods::MethodEntry;
use wane_attention::{METHODS, Phase};

/// Arguments of `wane methods`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wane methods
  wane methods quest
  wane methods --expand moba:k=8+snapkv:budget=1/8 --context 4096")]
pub(crate) struct Args {
    /// Show one method only
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print the fully expanded form of a plan instead
    #[arg(long, value_name = "PLAN", conflicts_with = "name")]
    expand: Option<String>,
    /// Tokens that budgets such as 1/16 are fractions of, for --expand
    #[arg(long, value_name = "N", requires = "expand")]
    context: Option<usize>,
}

/// Writes the list to `out`.
///
/// # Errors
/// An unknown method, a plan that does not parse, a writer that fails.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    if let Some(text) = &args.expand {
        let plan = Plan::parse(text)?;
        let plan = args.context.map_or(Ok(plan.clone()), |context| plan.resolve(context))?;
        writeln!(out, "{plan}")?;
        return Ok(());
    }
    if let Some(name) = &args.name {
        // Parsing the name alone gives the usual message with the nearest name.
        Plan::parse(name)?;
        for entry in METHODS.iter().filter(|entry| entry.name == name) {
            write_entry(entry, out)?;
        }
        return Ok(());
    }
    writeln!(
        out,
        "A plan is `method:key=value,...`; `+` joins methods of different phases, for example\n\
         moba:block=64,k=16+snapkv:k=1024+quest:block=64,k=8\n"
    )?;
    for entry in METHODS {
        write_entry(entry, out)?;
    }
    Ok(())
}

fn write_entry(entry: &MethodEntry, out: &mut impl Write) -> std::io::Result<()> {
    let phases: Vec<String> = entry.phases.iter().map(Phase::to_string).collect();
    writeln!(out, "{}: {}", entry.name, entry.summary)?;
    writeln!(out, "    decides {}; {}", phases.join(", "), entry.paper)?;
    for key in entry.keys {
        let (signature, default) = (signature(key), key.default.unwrap_or("unset"));
        writeln!(out, "    {signature} [{default}]")?;
        writeln!(out, "        {}", key.help)?;
    }
    writeln!(out)
}

/// `key=what it accepts`.
fn signature(key: &Key) -> String {
    match key.kind {
        Kind::AtLeast(_) => format!("{}=N", key.name),
        Kind::CountOrNone => format!("{}=N|none", key.name),
        Kind::Fraction => format!("{}=N/D", key.name),
        Kind::Flag => format!("{}=true|false", key.name),
        Kind::Choice(words) => format!("{}={}", key.name, words.join("|")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, run};

    fn output(name: Option<&str>, expand: Option<&str>, context: Option<usize>) -> String {
        let args = Args { name: name.map(str::to_owned), expand: expand.map(str::to_owned), context };
        let mut out = Vec::new();
        match run(&args, &mut out) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn every_method_and_key_is_listed() {
        let all = output(None, None, None);
        for entry in wane_attention::METHODS {
            assert!(all.contains(&format!("\n{}: ", entry.name)), "{}", entry.name);
            for key in entry.keys {
                assert!(all.contains(&format!("    {}=", key.name)), "{}:{}", entry.name, key.name);
            }
        }
        assert!(output(Some("quest"), None, None).starts_with("quest: "));
        assert!(!output(Some("quest"), None, None).contains("moba:"));
    }

    #[test]
    fn plans_are_expanded() {
        assert_eq!(
            output(None, Some("snapkv:budget=1/8"), Some(4096)),
            "snapkv:k=512,window=64,pool=avg,kernel=5,dense_layers=0,share=group_mean,selector=own\n"
        );
        assert!(output(Some("qest"), None, None).contains("the nearest is `quest`"));
    }
}
