//! The log group: is it there, may metrics be made of it, do lines arrive, do they become metrics?

use aws_sdk_cloudwatchlogs::types::LogGroupClass;

use super::service::{Ask, MAX_PAGES};
use super::{State, Step};
use crate::telemetry::emf::check::check;

impl Ask<'_> {
    pub(super) fn of_the_group(&self, group: Option<&str>) -> Vec<Step> {
        let all =
            |why: &str| ["log group", "event", "extraction"].map(|step| Step::skipped(step, why)).to_vec();
        let group = match group {
            _ if !self.emitted.by_lines => return all("metrics are pushed, no lines are written"),
            None => return all("the log group is not known here; give it by `--log-group`"),
            Some(group) => group,
        };
        let found = self.log_group(group);
        let is_there = found.state == State::Ok || found.state == State::NotAllowed;
        let mut steps = vec![found];
        match is_there {
            true => steps.extend([self.event(group), self.extraction(group)]),
            false => steps.extend(["event", "extraction"].map(|step| Step::skipped(step, "see `log group`"))),
        }
        steps
    }

    fn log_group(&self, name: &str) -> Step {
        let request = self.aws.logs().describe_log_groups().log_group_name_prefix(name);
        let answer = match self.aws.call("logs:DescribeLogGroups", request.send()) {
            Ok(answer) => answer,
            Err(trouble) => return Step::trouble("log group", &trouble),
        };
        // Groups come in the order of their names, so one with this very name is on the first page.
        let Some(group) = answer.log_groups().iter().find(|group| group.log_group_name() == Some(name))
        else {
            return Step::failed(
                "log group",
                format!("there is no log group `{name}` in `{}`", self.aws.region()),
                "no line has arrived yet, or region or account is another; who ships lines needs `logs:CreateLogGroup`, \
                 or make the group by hand",
            );
        };
        match group.log_group_class() {
            None | Some(LogGroupClass::Standard) => Step::ok("log group", format!("`{name}` is there")),
            Some(class) => Step::failed(
                "log group",
                format!("`{name}` is of the class {}, of which no metrics are made", class.as_str()),
                "the class of a group cannot be changed: send lines to a new group of the class STANDARD",
            ),
        }
    }

    /// Looks for an event of ours, and whether it is still as it was sent.
    fn event(&self, group: &str) -> Step {
        let client = self.aws.logs();
        let (mut token, mut altered) = (None, None);
        for _ in 0..MAX_PAGES {
            let request =
                client.filter_log_events().log_group_name(group).filter_pattern("\"CloudWatchMetrics\"");
            let request = request.start_time(self.window.start_ms).set_next_token(token);
            let page = match self.aws.call("logs:FilterLogEvents", request.send()) {
                Ok(page) => page,
                Err(trouble) => return Step::trouble("event", &trouble),
            };
            for event in page.events() {
                let message = event.message().unwrap_or_default();
                if !message.contains(&self.emitted.namespace) {
                    continue;
                }
                match check(message.as_bytes()) {
                    Ok(()) => {
                        let age =
                            (self.window.end_ms - event.timestamp().unwrap_or(self.window.end_ms)) / 1_000;
                        return Step::ok("event", format!("an EMF line of {} s ago is there", age.max(0)));
                    }
                    Err(problems) => altered = Some(problems),
                }
            }
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        match altered {
            Some(problems) => Step::failed(
                "event",
                format!("lines arrive in `{group}`, but not as valid EMF: {}", problems.join("; ")),
                "what ships them may add nothing, wrap nothing and cut nothing",
            ),
            None => Step::failed(
                "event",
                format!(
                    "no EMF line of the namespace `{}` arrived in `{group}` in {}",
                    self.emitted.namespace,
                    self.window.told()
                ),
                "send a request through tollgate; then look at the log of what ships lines (the agent: \
                 /opt/aws/amazon-cloudwatch-agent/logs): rights, a full queue, a dead connection",
            ),
        }
    }

    fn extraction(&self, group: &str) -> Step {
        let dimensions = [("LogGroupName", group.to_owned())];
        let mut counts = Vec::new();
        for name in ["EMFParsingErrors", "EMFValidationErrors"] {
            match self.sum("AWS/Logs", name, &dimensions) {
                Ok(sum) => counts.push((name, sum.unwrap_or(0.0))),
                Err(trouble) => return Step::trouble("extraction", &trouble),
            }
        }
        let wrong: Vec<String> = counts
            .iter()
            .filter(|(_, sum)| *sum > 0.0)
            .map(|(name, sum)| format!("{name} is {sum} in {}", self.window.told()))
            .collect();
        match wrong.is_empty() {
            true => Step::ok("extraction", format!("no EMF errors in {}", self.window.told())),
            false => Step::failed(
                "extraction",
                wrong.join(", "),
                "set `validate = true` in `[emf]` and look at tollgate's log; if it keeps nothing back, something else \
                 writes to this group",
            ),
        }
    }
}
