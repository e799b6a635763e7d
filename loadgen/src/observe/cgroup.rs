//! The CPU time that control groups allow this process (Documentation/admin-guide/cgroup-v2.rst of the kernel).

use std::path::Path;

use super::topology::ReadFile;

/// The smallest quota of the groups of this process and those above, in CPUs; `None` without one.
///
/// A container sees its own group as the root, or has the host's path of it in /proc/self/cgroup and only the group itself
/// below its mount point: with every group above, both are found.
pub(crate) fn cpu_quota(read: &ReadFile<'_>) -> Option<f64> {
    let groups = read("proc/self/cgroup")?;
    let quotas = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let version_2 = controllers.is_empty();
        let version_1 = controllers.split(',').any(|name| name == "cpu");
        let of = move |group: &Path| {
            let group = group.to_str()?.trim_matches('/');
            let file = |folder: &str, name: &str| {
                let parts = ["sys/fs/cgroup", folder, group, name];
                read(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"))
            };
            match version_2 {
                true => share(&file("", "cpu.max")?),
                false => share(&format!("{} {}", file("cpu", "cpu.cfs_quota_us")?, file("cpu", "cpu.cfs_period_us")?)),
            }
        };
        (version_1 || version_2).then(|| Path::new(path).ancestors().filter_map(of).collect::<Vec<_>>())
    });
    quotas.flatten().min_by(f64::total_cmp)
}

/// `50000 100000`, microseconds of CPU time in each period of so many, as a number of CPUs; `None` of `max` and -1.
fn share(text: &str) -> Option<f64> {
    let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().ok());
    let (quota, period) = (numbers.next()??, numbers.next()??);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(files: &[(&str, &str)]) -> Option<f64> {
        cpu_quota(&|path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn the_smallest_quota_of_all_groups_above_counts() {
        let own = ("proc/self/cgroup", "0::/a/b");
        assert_eq!(quota(&[own, ("sys/fs/cgroup/a/b/cpu.max", "max 100000")]), None);
        let above = ("sys/fs/cgroup/a/cpu.max", "150000 100000");
        assert_eq!(quota(&[own, above, ("sys/fs/cgroup/a/b/cpu.max", "400000 100000")]), Some(1.5));
        assert_eq!(quota(&[("proc/self/cgroup", "0::/"), ("sys/fs/cgroup/cpu.max", "50000 100000")]), Some(0.5));
    }

    #[test]
    fn a_quota_of_the_first_version_is_found_at_its_usual_place() {
        let own = ("proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/docker/1f\n0::/");
        let period = ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
        assert_eq!(quota(&[own, period, ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")]), None);
        assert_eq!(quota(&[own, period, ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000")]), Some(2.0));
    }

    #[test]
    fn what_cannot_be_read_is_no_quota() {
        assert_eq!(quota(&[]), None);
        for text in ["", "max", "100000", "x 100000", "100000 0"] {
            assert_eq!(quota(&[("proc/self/cgroup", "0::/"), ("sys/fs/cgroup/cpu.max", text)]), None, "{text:?}");
        }
    }
}
