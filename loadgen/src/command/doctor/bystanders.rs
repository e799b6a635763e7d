//! Who may disturb a measurement here, and the commands that would move them.

use crate::{
    observe::{
        bystanders::{Bystanders, Task, TaskKind},
        topology::show_cpu_list,
    },
    text::plain,
};

/// How many tasks are listed.
const TASKS_MAX: usize = 5;

/// How many interrupts are listed.
const INTERRUPTS_MAX: usize = 3;

/// Who ran on these CPUs, or may have, and how to move them to the others. Nothing is moved.
pub(super) fn text(found: &Bystanders, cpus: &[usize], others: &[usize], has_systemd: bool) -> String {
    let movable: Vec<&Task> = found.tasks.iter().filter(|task| task.kind != TaskKind::Bound).collect();
    let bound: Vec<&Task> = found.tasks.iter().filter(|task| task.kind == TaskKind::Bound).collect();
    let mut text = format!("\nused CPU time in that second and may run on CPUs {}:\n", show_cpu_list(cpus));
    text += &tasks(&movable);
    if !bound.is_empty() {
        text += &format!("  bound to these CPUs: {} of the kernel, {}\n", threads(bound.len()), ms(&bound));
    }
    text += &interrupts(found);
    if !found.sees_kernel {
        text += "in a container: what the host and other containers run does not show here\n";
    }
    let commands = commands(&movable, found, others);
    match (commands.is_empty(), others.is_empty()) {
        (true, _) => {}
        (false, true) => text += "there is no other CPU to move them to: end what can be ended, or wait\n",
        (false, false) => {
            let place = if found.sees_kernel { "as root" } else { "as root, on the host" };
            text += &format!("commands that move them ({place}; nothing was changed):\n");
            text += &commands.iter().map(|command| format!("  {command}\n")).collect::<String>();
            if has_systemd {
                text += &slices(others);
            }
        }
    }
    text
}

fn tasks(tasks: &[&Task]) -> String {
    if tasks.is_empty() {
        return "  none\n".to_owned();
    }
    let mut text = format!("  {:>7} {:>8}  {:<24} {:<16} {}\n", "ms", "pid", "name", "allowed", "last on");
    for task in &tasks[..tasks.len().min(TASKS_MAX)] {
        let name: String = plain(&task.name).chars().take(24).collect();
        let last = task.last_cpu.map_or_else(|| "?".to_owned(), |cpu| cpu.to_string());
        let kernel = if task.kind == TaskKind::Program { "" } else { ", kernel" };
        text += &format!(
            "  {:>7.1} {:>8}  {name:<24} {:<16} {last}{kernel}\n",
            task.cpu_ns as f64 / 1e6,
            task.pid,
            show_cpu_list(&task.allowed)
        );
    }
    if let Some(rest @ [_, ..]) = tasks.get(TASKS_MAX..) {
        text += &format!("  and {} more, {}\n", rest.len(), ms(rest));
    }
    text
}

fn threads(count: usize) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

fn ms(tasks: &[&Task]) -> String {
    format!("{:.1} ms", tasks.iter().map(|task| task.cpu_ns).sum::<u64>() as f64 / 1e6)
}

fn interrupts(found: &Bystanders) -> String {
    let mut text = "interrupts on these CPUs:\n".to_owned();
    for interrupt in found.interrupts.iter().take(INTERRUPTS_MAX) {
        let name: String = plain(&interrupt.name).chars().take(24).collect();
        let allowed = interrupt.allowed.as_ref().map_or_else(|| "unknown".to_owned(), |cpus| show_cpu_list(cpus));
        text += &format!("  {:>7} IRQ {:>4}  {name:<24} {allowed}\n", interrupt.count, interrupt.number);
    }
    if let Some(rest @ [_, ..]) = found.interrupts.get(INTERRUPTS_MAX..) {
        let count: u64 = rest.iter().map(|interrupt| interrupt.count).sum();
        text += &format!("  {count:>7} of {} more\n", rest.len());
    }
    text + &format!("  {:>7} timers and calls between CPUs, which stay\n", found.own_interrupts)
}

/// The commands that move the tasks and interrupts that are listed.
fn commands(tasks: &[&Task], found: &Bystanders, others: &[usize]) -> Vec<String> {
    let list = show_cpu_list(others);
    let listed = &tasks[..tasks.len().min(TASKS_MAX)];
    let mut commands: Vec<String> = Vec::new();
    for task in listed {
        let command = match task.kind {
            TaskKind::Program => format!("taskset -apc {list} {}", task.pid),
            TaskKind::Kernel => format!("taskset -pc {list} {}", task.pid),
            TaskKind::UnboundWorker => format!("echo {} > /sys/devices/virtual/workqueue/cpumask", mask(others)),
            TaskKind::Bound => continue,
        };
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    let interrupts = found.interrupts.iter().take(INTERRUPTS_MAX);
    commands.extend(interrupts.map(|it| format!("echo {list} > /proc/irq/{}/smp_affinity_list", it.number)));
    commands
}

/// All programs at once. A slice of its own for loadgen, which would be moved with the user's other programs.
fn slices(others: &[usize]) -> String {
    let list = show_cpu_list(others);
    let slice = |slice: &str| format!("  systemctl set-property --runtime {slice}.slice AllowedCPUs={list}\n");
    format!(
        "or all programs at once, with loadgen in a slice of its own:\n{}{}  systemd-run --scope --slice=loadgen loadgen \
         compare\n",
        slice("user"),
        slice("system")
    )
}

/// CPUs as a hexadecimal mask, with a comma before every 32 of them, as the kernel reads it.
fn mask(cpus: &[usize]) -> String {
    let words = cpus.iter().max().map_or(1, |cpu| cpu / 32 + 1);
    let word =
        |word: usize| cpus.iter().filter(|cpu| *cpu / 32 == word).fold(0_u32, |bits, cpu| bits | 1 << (cpu % 32));
    let masks = (0..words).rev().enumerate().map(|(place, at)| match place {
        0 => format!("{:x}", word(at)),
        _ => format!("{:08x}", word(at)),
    });
    masks.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::bystanders::Interrupt;

    fn task(pid: i32, name: &str, cpu_ns: u64, kind: TaskKind) -> Task {
        Task { pid, name: name.to_owned(), cpu_ns, allowed: (0..8).collect(), last_cpu: Some(3), kind }
    }

    fn interrupt(number: u32, count: u64) -> Interrupt {
        Interrupt { number, name: format!("nvme0q{number}"), count, allowed: Some(vec![0, 1]) }
    }

    fn busy() -> Bystanders {
        Bystanders {
            tasks: vec![
                task(4711, "browser", 12_300_000, TaskKind::Program),
                task(812, "kdamond.0", 3_100_000, TaskKind::Kernel),
                task(90, "kworker/u8:1-events_unbound", 200_000, TaskKind::UnboundWorker),
                task(91, "kworker/u8:2-events_unbound", 100_000, TaskKind::UnboundWorker),
                task(22, "ksoftirqd/1", 50_000, TaskKind::Bound),
            ],
            interrupts: vec![interrupt(36, 120)],
            own_interrupts: 512,
            sees_kernel: true,
        }
    }

    #[test]
    fn who_runs_there_is_listed_with_the_commands_that_move_them() {
        let shown = text(&busy(), &[1, 2, 5, 6], &[0, 3, 4, 7], true);
        assert_eq!(
            shown,
            "
used CPU time in that second and may run on CPUs 1-2,5-6:
       ms      pid  name                     allowed          last on
     12.3     4711  browser                  0-7              3
      3.1      812  kdamond.0                0-7              3, kernel
      0.2       90  kworker/u8:1-events_unbo 0-7              3, kernel
      0.1       91  kworker/u8:2-events_unbo 0-7              3, kernel
  bound to these CPUs: 1 thread of the kernel, 0.1 ms
interrupts on these CPUs:
      120 IRQ   36  nvme0q36                 0-1
      512 timers and calls between CPUs, which stay
commands that move them (as root; nothing was changed):
  taskset -apc 0,3-4,7 4711
  taskset -pc 0,3-4,7 812
  echo 99 > /sys/devices/virtual/workqueue/cpumask
  echo 0,3-4,7 > /proc/irq/36/smp_affinity_list
or all programs at once, with loadgen in a slice of its own:
  systemctl set-property --runtime user.slice AllowedCPUs=0,3-4,7
  systemctl set-property --runtime system.slice AllowedCPUs=0,3-4,7
  systemd-run --scope --slice=loadgen loadgen compare
"
        );
        assert!(shown.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn only_the_most_are_listed_and_the_rest_is_counted() {
        let found = Bystanders {
            tasks: (1..=9).map(|pid| task(pid, "worker", 1_000_000, TaskKind::Program)).collect(),
            interrupts: (1..=5).map(|number| interrupt(number, 10)).collect(),
            ..busy()
        };
        let shown = text(&found, &[1], &[0], false);
        assert!(shown.contains("and 4 more, 4.0 ms") && shown.contains("20 of 2 more"), "{shown}");
        assert_eq!(shown.matches("taskset").count(), TASKS_MAX);
        assert!(!shown.contains("systemctl"), "there is no systemd");
    }

    #[test]
    fn a_host_without_another_cpu_gets_no_commands() {
        let shown = text(&busy(), &[0, 1], &[], true);
        assert!(shown.contains("no other CPU to move them to") && !shown.contains("taskset"), "{shown}");
    }

    #[test]
    fn a_container_is_told_that_it_does_not_see_the_host() {
        let found = Bystanders { sees_kernel: false, tasks: vec![task(7, "sh", 1, TaskKind::Program)], ..busy() };
        let shown = text(&found, &[0], &[1], false);
        assert!(shown.contains("in a container:") && shown.contains("as root, on the host"), "{shown}");
        let alone = Bystanders { sees_kernel: true, ..Bystanders::default() };
        assert!(text(&alone, &[0], &[1], true).contains("  none\n"));
    }

    #[test]
    fn a_name_cannot_control_the_terminal() {
        let found = Bystanders { tasks: vec![task(7, "a\u{1b}[2J\nb", 1, TaskKind::Program)], ..busy() };
        assert!(text(&found, &[0], &[], false).contains(r"a\u{1b}[2J\nb"));
    }

    #[test]
    fn a_mask_has_a_comma_before_every_32_cpus() {
        assert_eq!([mask(&[0]), mask(&[0, 3, 31]), mask(&[1, 32])], ["1", "80000009", "1,00000002"]);
    }
}
