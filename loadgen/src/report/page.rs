//! What all pages have: the frame, figures, tables. No script, no network, nothing beside the page.
//! Well-formed XML too, so that any XML tool reads it. Follows the reader's light or dark scheme.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot::Plot;

/// Two sets of colours, each checked for contrast on its ground; series differ in lightness too.
const STYLE: &str = include_str!("style.css");

/// Elements without content, which the markup of HTML would leave open and XML closes.
const META: &str = r#"<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'"/>"#;

/// A page as text.
pub(crate) fn page(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" xmlns="http://www.w3.org/1999/xhtml" {
            head {
                (PreEscaped(META))
                title { (title) " – ringload" }
                style { (PreEscaped(STYLE)) }
            }
            body { main { h1 { (title) } (body) } }
        }
    };
    // XML 1.0 §2.2 allows them nowhere, and what servers say holds anything.
    let forbidden = |character: char| {
        let is_space = matches!(character, '\t' | '\n');
        !is_space && character < ' ' || matches!(character, '\u{7f}' | '\u{fffe}' | '\u{ffff}')
    };
    page.into_string().replace(forbidden, "\u{fffd}") + "\n"
}

/// A plot under a heading, with a note below.
pub(crate) fn figure(heading: &str, note: &str, plot: &Plot) -> Markup {
    html! {
        section {
            h2 { (heading) }
            figure {
                (plot)
                @if !note.is_empty() { figcaption { (note) } }
            }
        }
    }
}

/// A table under a heading; nothing at all without rows.
pub(crate) fn table(
    heading: &str,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Markup {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    if rows.is_empty() {
        return html! {};
    }
    let pairs = (header.len() == 2).then_some("pairs");
    // A column of figures is aligned to the right, its heading too.
    let figures: Vec<bool> = (0..header.len())
        .map(|column| {
            let mut cells = rows.iter().filter_map(|row| row.get(column));
            let is_none = |cell: &str| ["", "–", "not measured"].contains(&cell);
            cells.all(|cell| is_none(cell) || is_figure(cell))
        })
        .collect();
    let is_right = |column: usize| column > 0 && header.len() > 2 && figures[column];
    html! {
        section {
            @if !heading.is_empty() { h2 { (heading) } }
            div class="scroll tall" {
                table class=[pairs] {
                    thead { tr {
                        @for (column, name) in header.iter().enumerate() {
                            th scope="col" class=[is_right(column).then_some("figure")] { (name) }
                        }
                    } }
                    tbody {
                        @for row in &rows { tr {
                            @for (column, (cell, name)) in row.iter().zip(header).enumerate() {
                                @if column == 0 { th scope="row" { (cell) } }
                                @else if is_right(column) {
                                    td class="figure" data-name=(name) { (cell) }
                                }
                                @else if pairs.is_some() { td { (cell) } }
                                @else { td data-name=(name) { (cell) } }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// A cell in the place of a figure that there is not.
pub(crate) const TOO_FEW: &str = "too few";

/// Whether a cell is a number with a unit, or an interval of two.
fn is_figure(cell: &str) -> bool {
    let mut words = cell.trim_start_matches(['×', '>', ' ']).split(' ');
    let number = words.next().unwrap_or_default();
    let is_number = number.trim_end_matches("/s").parse::<f64>().is_ok();
    let rest: Vec<&str> = words.collect();
    cell == TOO_FEW || is_number && (rest.len() < 2 || rest[0] == "…")
}

/// What must be read before any figure.
pub(crate) fn warning(heading: &str, sentences: &[String]) -> Markup {
    html! {
        @if !sentences.is_empty() {
            div class="warning" {
                strong { (heading) }
                ul { @for sentence in sentences { li { (sentence) } } }
            }
        }
    }
}

/// The figures that tell most.
pub(crate) fn tiles(tiles: &[(String, String)]) -> Markup {
    html! {
        dl class="tiles" {
            @for (name, value) in tiles { div { dt { (name) } dd { (value) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_figure;

    #[test]
    fn figures_are_told_from_other_texts() {
        for figure in
            ["12", "1.5 ms", "160/s", "2.60 MiB/s", "> 99.9 %", "×1.2", "0.1 … 6", "too few"]
        {
            assert!(is_figure(figure), "{figure}");
        }
        for other in
            ["127.0.0.1:990", "2026-11-28 20:16:09 UTC", "×1.5 within noise", "scouted", ""]
        {
            assert!(!is_figure(other), "{other}");
        }
    }
}
