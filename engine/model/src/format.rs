//! Durations and numbers as people read them, the same in every command and report.

/// `17 ns`, `3.2 µs`, `12.3 ms`, `1.25 s`, `2m 5s`: two digits after the point below ten, one above, without zeros at
/// the end.
pub fn span(ns: f64) -> String {
    match ns {
        ..999.5 => format!("{ns:.0} ns"),
        ..999_950.0 => format!("{} µs", short(ns / 1e3)),
        ..999_950_000.0 => format!("{} ms", short(ns / 1e6)),
        ..119_500_000_000.0 => format!("{} s", short(ns / 1e9)),
        ..7_200_000_000_000.0 => parts(ns / 1e9, 60.0, ["m", "s"]),
        ..172_800_000_000_000.0 => parts(ns / 60e9, 60.0, ["h", "m"]),
        _ => parts(ns / 3_600e9, 24.0, ["d", "h"]),
    }
}

fn short(value: f64) -> String {
    let text = if value < 9.995 { format!("{value:.2}") } else { format!("{value:.1}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn parts(of_small: f64, small_per_great: f64, [great, small]: [&str; 2]) -> String {
    let all = of_small.round();
    let (greats, smalls) = ((all / small_per_great).floor(), all % small_per_great);
    if smalls == 0.0 { format!("{greats}{great}") } else { format!("{greats}{great} {smalls}{small}") }
}

/// `0`, `4.2`, `980`, `1,234`, `12.3k`, `4.56M`.
pub fn number(value: f64) -> String {
    match value {
        ..0.05 => "0".to_owned(),
        ..9.95 => format!("{value:.1}").replace(".0", ""),
        ..999.5 => format!("{value:.0}"),
        ..9_999.5 => thousands(value),
        ..999_500.0 => format!("{:.1}k", value / 1e3).replace(".0k", "k"),
        ..999_500_000.0 => format!("{:.2}M", value / 1e6).replace(".00M", "M"),
        _ => format!("{:.2}G", value / 1e9).replace(".00G", "G"),
    }
}

/// `1,234,567`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| String::from_utf8_lossy(group).into_owned()).collect::<Vec<_>>().join(",")
}

/// `1 retry`, `2 retries`.
pub fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (4.2, "4.2"),
            (5.0, "5"),
            (980.4, "980"),
            (1_234.0, "1,234"),
            (12_345.0, "12.3k"),
            (20_000.0, "20k"),
            (4_560_000.0, "4.56M"),
            (7e9, "7G"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }

    #[test]
    fn spans_are_short() {
        for (ns, text) in [
            (17.0, "17 ns"),
            (3_200.0, "3.2 µs"),
            (12_340_000.0, "12.3 ms"),
            (999_970.0, "1 ms"),
            (123_456.0, "123.5 µs"),
            (7_502.0, "7.5 µs"),
            (1_250_000_000.0, "1.25 s"),
            (125_000_000_000.0, "2m 5s"),
            (7_200_000_000_000.0, "2h"),
            (90_000_000_000_000.0, "25h"),
            (180_000_000_000_000.0, "2d 2h"),
        ] {
            assert_eq!(span(ns), text);
        }
    }
}
