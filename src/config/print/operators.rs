//! `[admin]` and `[alerts]` as a file, without what is secret in them.

use super::super::alerts::WrittenCondition;
use super::super::model::Model;
use super::super::model::admin::{Admin, AlertRule, Alerts};
use super::super::units::duration_text;
use super::{Printer, one_or_list, quote};

pub(super) fn print(printer: &mut Printer<'_>, model: &Model) {
    // A table would turn it on.
    if let Some(admin) = &model.admin {
        print_admin(printer, admin);
    }
    print_alerts(printer, &model.alerts);
}

fn print_admin(printer: &mut Printer<'_>, admin: &Admin) {
    printer.table("[admin]", "admin");
    let addresses = admin.addresses.iter().map(|address| quote(&address.to_string()));
    printer.key("address", one_or_list(addresses.collect()));
    printer.secret("token", admin.token.is_some());
    printer.optional("live_path", admin.live_path.as_deref());
    printer.optional("ready_path", admin.ready_path.as_deref());
}

fn print_alerts(printer: &mut Printer<'_>, alerts: &Alerts) {
    // An empty table lacks its URL.
    for (path, key, secret) in
        [("alerts.slack", "webhook", &alerts.slack), ("alerts.webhook", "url", &alerts.webhook)]
    {
        let is_written = printer.origins.written(&format!("{path}.{key}")).is_some();
        match secret {
            Some(_) if is_written => {
                printer.table(&format!("[{path}]"), path);
                printer.secret(key, true);
            }
            Some(_) => printer.out.push_str(&format!("\n# {path}.{key} is set, and not shown\n")),
            None => {}
        }
    }
    for (index, rule) in alerts.rules.iter().enumerate() {
        print_rule(printer, index, rule);
    }
}

fn print_rule(printer: &mut Printer<'_>, index: usize, rule: &AlertRule) {
    printer.table("[[alerts.rules]]", &format!("alerts.rules.{index}"));
    printer.text("name", &rule.name);
    printer.text("when", &WrittenCondition(&rule.when).to_string());
    printer.optional("route", rule.route.as_deref());
    printer.text("over", &duration_text(rule.over));
    printer.text("for", &duration_text(rule.hold));
    printer.text("cooldown", &duration_text(rule.cooldown));
    printer.key("min_requests", rule.min_requests);
}
