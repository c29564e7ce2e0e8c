//! APP: what the program behind the port says.

use std::time::Duration;

use super::{skipped, Check, Judged};
use crate::finding::{Finding, Layer, Outcome, Seen};
use crate::gather::app::Said;
use crate::gather::Facts;
use crate::hello::{Greeting, Heard};

pub(crate) struct Application;

impl Check for Application {
    fn name(&self) -> &'static str {
        Layer::Application.as_str()
    }

    fn judge(&self, facts: &Facts) -> Judged {
        let (Some(port), Some(greeting)) = (facts.port, facts.app.greeting) else {
            return skipped(self.name(), "no connection to speak on");
        };
        let mut finding = Finding::new(self.name(), Outcome::Pass);
        let what = greeting.as_str();
        // Only where the port says what is spoken there can the answer be wrong.
        let is_known = greeting != Greeting::Listen;
        match &facts.app.heard {
            Said::NotAsked => {
                finding.result = Outcome::Unknown;
                finding.proves(String::new(), "what is behind the port").into()
            }
            Said::Something(Heard::Understood(said), _) => finding
                .saw(format!("{what}: {said}"))
                .proves(
                    "the program behind the port answers in its protocol",
                    "that it does what is asked of it",
                )
                .into(),
            Said::Something(Heard::Unknown, bytes) => finding
                .saw(format!("it speaks first: {}", text(bytes)))
                .proves("a program is behind the port", "which one")
                .into(),
            Said::Something(Heard::Other(name), bytes) if !is_known => finding
                .saw(format!("it speaks {name}: {}", text(bytes)))
                .proves(
                    "a program is behind the port",
                    "that it is the one that was meant",
                )
                .into(),
            Said::Something(Heard::Refused(said), _) => {
                let summary = format!("The program behind port {port} refuses: {said}. The network is fine.");
                fault(
                    finding.saw(format!("{what}: {said}")),
                    vec![Seen::Answer, Seen::SecondAnswer],
                    summary,
                )
            }
            Said::Something(Heard::Other(name), bytes) => {
                let summary = format!(
                    "Port {port} is for {what}, and what answers there speaks {name}. The network is fine."
                );
                let finding = finding.saw(format!("instead of {what}: {}", text(bytes)));
                fault(finding, vec![Seen::Answer, Seen::SecondAnswer], summary)
            }
            Said::Silence => {
                finding.result = Outcome::Unknown;
                let asked = match is_known {
                    true => format!("nothing is heard in the way of {what} within 1.5 s"),
                    false => {
                        "nothing is heard within 1.5 s; nothing was said, since the port's use is not known"
                            .to_owned()
                    }
                };
                finding
                    .saw(asked)
                    .proves(
                        "a connection is accepted (by the kernel, perhaps with no program behind it)",
                        "that a program serves it",
                    )
                    .into()
            }
            Said::Closed if !is_known => {
                finding.result = Outcome::Unknown;
                finding
                    .saw("the other side closes the connection at once, without a word")
                    .proves(
                        "a program is behind the port",
                        "that it is willing to serve this host",
                    )
                    .into()
            }
            Said::Closed | Said::Reset => {
                let how = match facts.app.heard {
                    Said::Reset => "resets",
                    _ => "closes",
                };
                let summary = format!(
                    "Port {port} accepts, and then the other side {how} the connection without a word: the program refuses \
                     this host, or a proxy cannot reach what is behind it."
                );
                let finding = finding.saw(format!(
                    "the other side {how} the connection before it says anything"
                ));
                fault(finding, vec![Seen::Answer], summary)
            }
        }
    }

    fn took(&self, facts: &Facts) -> Duration {
        facts.took.app
    }
}

fn fault(mut finding: Finding, seen: Vec<Seen>, summary: String) -> Judged {
    finding.result = Outcome::Fail;
    let finding = finding
        .proves(
            "the network is fine up to the program",
            "why the program behaves so",
        )
        .next("Look at the program's own log on the target, and at its access lists.");
    Judged::fault(finding, Layer::Application, seen, summary).whatever_works()
}

fn text(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line.get(..line.len().min(80)).unwrap_or_default())
        .trim_end()
        .to_owned()
}
