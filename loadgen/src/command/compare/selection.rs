//! Which loads of `full` are carried out, and by which servers.

use anyhow::{Result, ensure};
use protocol::{Feature, Service};

use super::{
    arms::Arm,
    table::{PRIMARY_CPU, PRIMARY_LATENCY, Spec, TABLE, Weight, chosen},
};
use crate::{
    plan::{HostArgs, PlacementKind},
    record::{DroppedCell, Primary},
};

/// The loads that a command line asks for.
pub(super) struct Selection {
    /// Those that can be carried out.
    pub(super) specs: Vec<Spec>,
    /// The others.
    pub(super) dropped: Vec<DroppedCell>,
    /// The cells of the primary claims; `None` if not all of them were asked for, so that there are no such claims.
    pub(super) primary: Option<Primary>,
}

impl Selection {
    /// What `--cells` means; every load without it. `arms` are all, with the control.
    ///
    /// # Errors
    /// If a word means no load, or no load that was asked for can be carried out.
    pub(super) fn of(words: &[String], arms: &[Arm], host: &HostArgs) -> Result<Self> {
        let asked = if words.is_empty() { TABLE.to_vec() } else { chosen(words)? };
        let unmet = |spec: &Spec| match spec.placement {
            PlacementKind::Shared if host.generators.is_some() => {
                Some("with --generators, server and generator share no CPU".to_owned())
            }
            _ => spec.needs.and_then(|need| need.unmet(host)),
        };
        let reason = |spec: &Spec| unmet(spec).or_else(|| arms_of(spec, arms, false).err());
        let (mut specs, mut dropped) = (Vec::new(), Vec::new());
        for spec in asked {
            match reason(&spec) {
                None => specs.push(spec),
                Some(reason) => dropped.push(DroppedCell { cell: spec.name.to_owned(), reason }),
            }
        }
        ensure!(!specs.is_empty(), "no cell is left: {}", by_reason(&dropped).join("; "));
        let has = |name: &str| specs.iter().any(|spec| spec.name == name);
        let primary = Primary { latency: PRIMARY_LATENCY.to_owned(), cpu: PRIMARY_CPU.to_owned() };
        let primary = (has(PRIMARY_LATENCY) && has(PRIMARY_CPU)).then_some(primary);
        Ok(Self { specs, dropped, primary })
    }
}

/// What is left out, a line for each reason.
pub(super) fn by_reason(dropped: &[DroppedCell]) -> Vec<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for cell in dropped {
        if !reasons.contains(&cell.reason.as_str()) {
            reasons.push(&cell.reason);
        }
    }
    let line = |reason: &str| {
        let names = dropped.iter().filter(|cell| cell.reason == reason).map(|cell| cell.cell.as_str());
        format!("{}: {reason}", names.collect::<Vec<_>>().join(", "))
    };
    reasons.into_iter().map(line).collect()
}

/// The arms of a load: those that have what it asks for, and the servers beside them.
///
/// # Errors
/// Why there is nothing to compare.
pub(super) fn arms_of(spec: &Spec, arms: &[Arm], has_primary: bool) -> Result<Vec<Arm>, String> {
    let exists = |name: &&&str| servers::by_name(name).is_some();
    let beside: Vec<Arm> = spec.beside.iter().filter(exists).map(|name| Arm::server(name)).collect();
    let has_control = has_primary && spec.weight == Weight::Primary;
    let is_asked = |arm: &&Arm| {
        (has_control || !arm.is_control())
            && arm.server_name().is_none_or(|name| spec.only.is_empty() || spec.only.contains(&name))
    };
    let asked: Vec<Arm> = arms.iter().filter(is_asked).cloned().collect();
    able(asked, beside, &spec.service, Arm::lacks)
}

/// Those of the contestants, and of the servers beside them, that lack nothing.
fn able(
    asked: Vec<Arm>,
    beside: Vec<Arm>,
    service: &Service,
    lacks: impl Fn(&Arm, &Service) -> Option<Feature>,
) -> Result<Vec<Arm>, String> {
    let missing = asked.iter().find_map(|arm| lacks(arm, service));
    let is_able = |arm: &Arm| lacks(arm, service).is_none();
    let mut able: Vec<Arm> = asked.into_iter().filter(is_able).collect();
    if let (Some(feature), [] | [_]) = (missing, &able[..]) {
        let who = able.first().map_or("none of the servers", |arm| arm.label.as_str());
        let alone = if able.is_empty() { "" } else { " alone" };
        return Err(format!("{who}{alone} has {}: there is nothing to compare", feature.option()));
    }
    for arm in beside.into_iter().filter(is_able) {
        if !able.iter().any(|other| other.label == arm.label) {
            able.push(arm);
        }
    }
    Ok(able)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{command::compare::arms::arms, plan::PacingChoice};

    fn named(names: &[&str]) -> Vec<Arm> {
        names.iter().map(|name| Arm::server(name)).collect()
    }

    fn selection(words: &[&str]) -> Result<Selection> {
        let arms = arms(&["mio", "tokio"].map(str::to_owned), &[]);
        let host = HostArgs::standard(PacingChoice::Auto, PlacementKind::Split);
        Selection::of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &arms, &host)
    }

    /// The labels of those that are able, if these lack the handshake.
    fn left(lacking: &[&str], beside: &[&str]) -> Result<Vec<String>, String> {
        let service = Service { handshake: Some(std::time::Duration::from_secs(1)), ..Service::default() };
        let lacks = |arm: &Arm, service: &Service| service.features().find(|_| lacking.contains(&arm.label.as_str()));
        let able = able(named(&["mio", "threads", "tokio"]), named(beside), &service, lacks)?;
        Ok(able.into_iter().map(|arm| arm.label).collect())
    }

    #[test]
    fn servers_that_lack_what_a_load_asks_for_are_left_out_and_with_fewer_than_two_the_load_is() {
        assert_eq!(left(&[], &[]).unwrap(), ["mio", "threads", "tokio"]);
        assert_eq!(left(&["mio"], &[]).unwrap(), ["threads", "tokio"]);
        let alone = left(&["mio", "tokio"], &["epoll"]).unwrap_err();
        assert_eq!(alone, "threads alone has --handshake: there is nothing to compare", "epoll is no contestant");
        let none = left(&["mio", "threads", "tokio"], &[]).unwrap_err();
        assert_eq!(none, "none of the servers has --handshake: there is nothing to compare");
    }

    #[test]
    fn a_server_beside_the_contestants_runs_once_and_only_if_it_is_able() {
        assert_eq!(left(&[], &["epoll", "mio"]).unwrap(), ["mio", "threads", "tokio", "epoll"]);
        assert_eq!(left(&["epoll"], &["epoll"]).unwrap(), ["mio", "threads", "tokio"]);
    }

    #[test]
    fn one_server_that_was_asked_for_alone_is_no_reason_to_leave_a_load_out() {
        let service = Service::default();
        assert_eq!(able(named(&["mio"]), Vec::new(), &service, Arm::lacks).unwrap().len(), 1);
    }

    #[test]
    fn what_has_no_server_or_host_is_left_out_with_one_line_for_each_reason() {
        let Selection { specs, dropped, .. } = selection(&[]).unwrap();
        assert_eq!(specs.len() + dropped.len(), TABLE.len());
        let lines = by_reason(&dropped);
        assert!(lines.len() <= 6 && lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
        let none = selection(&["veth"]).map(|_| ()).unwrap_err().to_string();
        let netns = "scripts/netns.sh 1 compare --profile full --cells veth";
        assert_eq!(none, format!("no cell is left: veth: needs --generators: {netns}"));
    }

    #[test]
    fn primary_claims_need_both_of_their_cells() {
        let primary = |words: &[&str]| selection(words).unwrap().primary;
        assert_eq!(primary(&[]), Some(Primary { latency: "rate-50".to_owned(), cpu: "cpu".to_owned() }));
        assert!(primary(&["rate"]).is_none(), "CPU per message belongs to the family");
        assert!(primary(&["cpu", "rate-50", "floor"]).is_some());
    }

    #[test]
    fn of_the_servers_of_this_project_only_those_are_asked_that_a_load_names() {
        let spec = TABLE.into_iter().find(|spec| spec.name == "scale-1").unwrap();
        // Without work, so that it does not matter which server has it.
        let spec = Spec { service: Service::default(), beside: &["epoll", "no-such-server"], ..spec };
        let asked = arms(&["mio", "tokio-current-thread", "tokio"].map(str::to_owned), &[]);
        let labels: Vec<String> = arms_of(&spec, &asked, true).unwrap().into_iter().map(|arm| arm.label).collect();
        assert_eq!(labels, ["mio", "tokio", "epoll"]);
    }
}
