//! CloudWatch set up from a configuration: what is wanted, and what of it is missing.

use super::alarms;
use super::client::{Aws, Trouble};
use super::dashboard::dashboard;
use super::difference::{Change, Existing, Wanted, changes};
use super::emitted::Emitted;
use super::{remote, template};
use crate::config::model::Model;

/// What a configuration asks CloudWatch for.
#[derive(Debug)]
pub struct Plan {
    emitted: Emitted,
    wanted: Wanted,
}

impl Plan {
    /// Of a configuration; `None` if it sends no metric.
    pub fn of(model: &Model, region: &str) -> Option<Plan> {
        let emitted = Emitted::of(model)?;
        let thresholds = &model.cloudwatch.alarms;
        let (alarms, notes) = alarms::alarms(&emitted, thresholds);
        let dashboard = dashboard(&emitted, thresholds, model.cloudwatch.dashboard.as_deref(), region);
        Some(Plan { emitted, wanted: Wanted { dashboard, alarms, notes } })
    }

    /// What is wanted.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// What must be done if nothing is there.
    pub fn from_nothing(&self) -> Vec<Change> {
        changes(&self.wanted, &Existing::default())
    }

    /// What must be done.
    pub fn changes(&self, aws: &Aws) -> Result<Vec<Change>, Trouble> {
        let mark = alarms::mark(&self.emitted);
        let existing = remote::read(aws, &self.wanted, &self.emitted.prefix(), &mark)?;
        Ok(changes(&self.wanted, &existing))
    }

    /// The bodies that the API takes.
    pub fn json(&self) -> serde_json::Value {
        let Wanted { dashboard, alarms, .. } = &self.wanted;
        serde_json::json!({
            "dashboard": { "DashboardName": dashboard.name, "DashboardBody": dashboard.body },
            "alarms": alarms,
        })
    }

    /// The CloudFormation template.
    pub fn template(&self) -> serde_json::Value {
        template::template(&self.wanted.dashboard, &self.wanted.alarms)
    }
}
