//! The pages: alone, well-formed, escaped, within their bounds.

use std::time::Duration;

use ringload::compare::{Named, compare, versus};
use ringload::measure::RunResult;
use ringload::report::html;

use crate::made_up::{closed_run, full_run};

#[test]
fn the_page_is_well_formed_and_alone() {
    let page = html(&full_run());
    let document = parse_page(&page);
    let elements = || document.descendants().filter(roxmltree::Node::is_element);
    for element in elements() {
        let name = element.tag_name().name();
        assert!(
            !["script", "link", "img", "iframe", "object", "embed", "base", "use"].contains(&name),
            "{name} could reach out"
        );
        for attribute in element.attributes() {
            let known = ["src", "href", "action", "srcset", "data", "poster"];
            assert!(!known.contains(&attribute.name()), "{name} {}", attribute.name());
            assert!(!attribute.name().starts_with("on"), "{name} {}", attribute.name());
        }
    }
    let style = elements().find(|element| element.has_tag_name((XHTML, "style"))).unwrap();
    let style = style.text().unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert!(style.contains("prefers-color-scheme:dark"));
    // The one address in it is the name of a vocabulary.
    assert_eq!(page.matches("http").count() - page.matches("http-equiv").count(), 1);
}

const XHTML: &str = "http://www.w3.org/1999/xhtml";

pub(crate) fn parse_page(page: &str) -> roxmltree::Document<'_> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    roxmltree::Document::parse_with_options(page, options).unwrap()
}

#[test]
fn the_page_shows_what_a_server_said_as_text() {
    let mut result = full_run();
    result.target.greeting = "220 </td><script>alert('&')</script>\u{1}\u{ffff}".to_owned();
    result.target.host = "\"onload=x".to_owned();
    let page = html(&result);
    assert!(!page.contains("<script"));
    let document = parse_page(&page);
    let said = "220 </td><script>alert('&')</script>\u{fffd}\u{fffd}";
    assert!(document.descendants().any(|node| node.text() == Some(said)));
}

/// Every place of a plot lies on its drawing, and every label beside it.
#[test]
fn plots_draw_within_their_bounds() {
    let page = html(&full_run());
    let document = parse_page(&page);
    let plots = || document.descendants().filter(|node| node.attribute("role") == Some("img"));
    for svg in plots() {
        assert_eq!(svg.attribute("viewBox"), Some("0 0 1000 1000"));
        assert!(svg.attribute("aria-label").is_some_and(|text| text.len() > 10));
        for path in svg.descendants().filter_map(|node| node.attribute("d")) {
            let numbers: Vec<f64> = path
                .split(|letter: char| letter.is_alphabetic() || letter == ' ')
                .filter(|number| !number.is_empty())
                .map(|number| number.parse().unwrap())
                .collect();
            assert!(numbers.iter().all(|number| (0.0..=1000.0).contains(number)), "{path}");
        }
    }
    for style in document.descendants().filter_map(|node| node.attribute("style")) {
        for place in style.split(';').filter_map(|part| part.split_once(':')) {
            let percent: f64 = place.1.trim_end_matches('%').parse().unwrap();
            assert!((0.0..=100.0).contains(&percent), "{style}");
        }
    }
    let headings = headings(&document);
    let wanted = [
        "Latency by percentile",
        "Offered and reached rate",
        "Payload",
        "Latency heatmap",
        "Latency over time",
        "Phases",
        "CPU of client and server",
        "Errors over time",
        "Search for the highest rate",
        "p99 by rate",
    ];
    assert_eq!(plots().count(), wanted.len());
    for heading in wanted {
        assert!(headings.iter().any(|found| found == heading), "{heading} not in {headings:?}");
    }
}

fn headings(document: &roxmltree::Document<'_>) -> Vec<String> {
    let headings = document.descendants().filter(|node| node.has_tag_name((XHTML, "h2")));
    headings.filter_map(|node| node.text().map(str::to_owned)).collect()
}

fn section<'a>(document: &'a roxmltree::Document<'_>, heading: &str) -> roxmltree::Node<'a, 'a> {
    let has = |node: &roxmltree::Node<'_, '_>| {
        node.has_tag_name((XHTML, "section"))
            && node.descendants().any(|inner| inner.text() == Some(heading))
    };
    document.descendants().find(has).unwrap()
}

/// The labels of the y axis of the plot under a heading.
fn y_labels(page: &str, heading: &str) -> Vec<String> {
    let document = parse_page(page);
    let section = section(&document, heading);
    let axis = section.descendants().find(|node| node.attribute("class") == Some("y")).unwrap();
    axis.children().filter_map(|tick| tick.text().map(str::to_owned)).collect()
}

/// Two runs of one kind, one a little slower and at another rate, have the same axes.
#[test]
fn two_reports_compare() {
    let run = full_run();
    let mut other = run.clone();
    for row in &mut other.intervals {
        row.operations = row.operations * 9 / 10;
        row.max_ns = row.max_ns * 11 / 10;
    }
    let pages = [html(&run), html(&other)];
    for heading in ["Offered and reached rate", "Latency over time", "Latency by percentile"] {
        let [one, another] = pages.each_ref().map(|page| y_labels(page, heading));
        assert_eq!(one, another, "{heading}");
    }
    let latency = y_labels(&pages[0], "Latency over time");
    assert_eq!(latency, y_labels(&pages[0], "Latency by percentile"), "one axis on a page");
    assert_eq!(latency[0], "10 µs");
}

/// The objective is drawn where it applies, and said in words.
#[test]
fn the_objective_is_a_line() {
    let page = html(&full_run());
    let document = parse_page(&page);
    let labels = document
        .descendants()
        .filter(|node| {
            node.attribute("class").is_some_and(|class| class.starts_with("limit-label"))
        })
        .filter_map(|node| node.text())
        .collect::<Vec<_>>();
    // By percentile, in the heatmap, over time and in the search; the rate in its own.
    assert_eq!(labels.iter().filter(|label| **label == "p99<50ms").count(), 4);
    assert_eq!(labels.iter().filter(|label| **label == "rate>100/s").count(), 1);
    let corners = document.descendants().filter(|node| node.attribute("class") == Some("limit"));
    assert_eq!(corners.count(), labels.len());
}

/// A run of few operations says so instead of a percentile by chance.
#[test]
fn few_operations_have_no_high_percentile() {
    let page = html(&closed_run(Duration::from_millis(1), Duration::from_secs(1)));
    let document = parse_page(&page);
    let row = document
        .descendants()
        .filter(|node| node.has_tag_name((XHTML, "tr")))
        .find(|row| {
            row.first_element_child().and_then(|cell| cell.text()) == Some("whole operation")
        })
        .unwrap();
    let cells: Vec<&str> = row.children().filter_map(|cell| cell.text()).skip(1).collect();
    let begin = ["1000", "1.00 ms", "1.00 ms", "1.00 ms", "1.00 ms", "1.00 ms"];
    assert_eq!(cells[..6], begin, "p99 has ten operations beyond it");
    assert_eq!(cells[6..8], ["too few", "too few"]);
}

/// Of what is stacked, each layer begins where the one below ends, and the top is the mean.
#[test]
fn phases_add_up_in_the_page() {
    let result: RunResult = full_run();
    let row = &result.intervals[10];
    let (operation, phases): (Vec<_>, Vec<_>) =
        row.phase_ns.iter().partition(|(phase, _)| phase.name() == "operation");
    let sum: u64 = phases.iter().map(|(_, sum)| **sum).sum();
    assert_eq!(*operation[0].1, sum, "nothing of these operations belongs to no phase");
}

fn named(name: &str, result: RunResult) -> Named {
    Named { name: name.to_owned(), result }
}

/// Runs laid over each other: each has its line, no two look alike, and what a file is called is
/// text.
#[test]
fn runs_are_laid_over_each_other() {
    let run = full_run();
    let runs = [
        named("<script>old</script>.json", run.clone()),
        named("new & \"better\".json", run.clone()),
        named("third.json", run.clone()),
    ];
    let page = compare(&runs).html(&runs);
    assert!(!page.contains("<script"));
    let document = parse_page(&page);
    let headings = headings(&document);
    for heading in ["Latency by percentile", "Reached rate", "p99 over time", "The runs"] {
        assert!(headings.iter().any(|found| found == heading), "{heading} not in {headings:?}");
        if heading == "The runs" {
            continue;
        }
        let section = section(&document, heading);
        let mut looks: Vec<&str> = section
            .descendants()
            .filter(|node| node.parent().and_then(|svg| svg.attribute("role")) == Some("img"))
            .filter_map(|node| node.attribute("class"))
            .filter(|class| class.starts_with("line "))
            .collect();
        looks.sort_unstable();
        looks.dedup();
        assert_eq!(looks.len(), 3, "{heading}: {looks:?}");
    }
    // On the axes of a single run's page.
    let alone = html(&run);
    let heading = "Latency by percentile";
    assert_eq!(y_labels(&page, heading), y_labels(&alone, heading));
}

#[test]
fn rounds_of_two_targets_have_a_page() {
    let mut run = full_run();
    // Two seconds show it as well as a minute.
    run.intervals.truncate(2);
    let mut slower = vec![run.clone(); 3];
    for run in &mut slower {
        run.totals.operations_per_s *= 0.7;
    }
    let compared = versus("a <b>", vec![run; 3], "b", slower);
    let page = compared.html();
    let document = parse_page(&page);
    let headings = headings(&document);
    for heading in
        ["B beside A", "Medians of the rounds", "Latency by percentile", "operations/s by round"]
    {
        assert!(headings.iter().any(|found| found == heading), "{heading} not in {headings:?}");
    }
    let told = document.descendants().filter_map(|node| node.attribute("aria-label"));
    let told: Vec<&str> = told.filter(|text| text.starts_with("operations/s: ")).collect();
    assert_eq!(told, ["operations/s: ×0.700 (0.700 to 0.700), worse"]);
    assert!(page.contains("a &lt;b&gt;"));
}
