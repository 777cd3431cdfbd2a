//! As much of SVG as the picture needs.

use std::fmt::Write as _;

/// Works in every viewer, from browsers to librsvg.
const FONT: &str = "Inter, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif";

/// A document in the making. What comes later lies on top.
#[derive(Debug, Default)]
pub struct Svg {
    body: String,
    texts: Vec<Area>,
}

/// A rectangle that a text takes up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// To the right.
    pub width: f64,
    /// Downwards.
    pub height: f64,
}

/// How a text looks.
#[derive(Debug, Clone)]
pub struct Text {
    size: f64,
    colour: String,
    bold: bool,
    anchor: Anchor,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Text {
    /// Of this size, to the right of its point.
    pub fn new(size: f64, colour: &str) -> Self {
        Self { size, colour: colour.to_owned(), bold: false, anchor: Anchor::Start }
    }

    /// Bold.
    pub fn bold(mut self) -> Self {
        self.bold = true;
        self
    }

    /// Around its point.
    pub fn centred(mut self) -> Self {
        self.anchor = Anchor::Middle;
        self
    }

    /// To the left of its point.
    pub fn before(mut self) -> Self {
        self.anchor = Anchor::End;
        self
    }

    /// How wide a text will be, in the widest of the fonts.
    pub fn width(&self, text: &str) -> f64 {
        let per_character = if self.bold { 0.64 } else { 0.56 };
        text.chars().count() as f64 * self.size * per_character
    }
}

impl Svg {
    /// A filled rectangle with round corners.
    pub fn rect(&mut self, area: Area, fill: &str, radius: f64) {
        let Area { x, y, width, height } = area;
        self.element(&format!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{height:.1}" rx="{radius}" fill="{fill}"/>"#,
            width.max(0.5)
        ));
    }

    /// A line; `dashes` as in stroke-dasharray, "" for none.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64, dashes: &str) {
        let dashes =
            if dashes.is_empty() { String::new() } else { format!(r#" stroke-dasharray="{dashes}""#) };
        self.element(&format!(
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}" stroke-width="{width}"{dashes}/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    /// A filled circle.
    pub fn circle(&mut self, at: (f64, f64), radius: f64, fill: &str) {
        self.element(&format!(r#"<circle cx="{:.1}" cy="{:.1}" r="{radius}" fill="{fill}"/>"#, at.0, at.1));
    }

    /// Many upright lines of one colour: from and to, as (x, upper y, lower y).
    pub fn uprights(&mut self, lines: &[(f64, f64, f64)], colour: &str, width: f64) {
        if lines.is_empty() {
            return;
        }
        let mut path = String::new();
        for (x, top, bottom) in lines {
            // Writing to a String does not fail.
            let _ = write!(path, "M{x:.1} {top:.1}V{bottom:.1}");
        }
        self.element(&format!(r#"<path d="{path}" stroke="{colour}" stroke-width="{width}" fill="none"/>"#));
    }

    /// A line of text, its baseline at `y`.
    pub fn text(&mut self, x: f64, y: f64, text: &str, look: &Text) {
        let width = look.width(text);
        let (anchor, left) = match look.anchor {
            Anchor::Start => ("start", x),
            Anchor::Middle => ("middle", x - width / 2.0),
            Anchor::End => ("end", x - width),
        };
        self.texts.push(Area { x: left, y: y - look.size * 0.8, width, height: look.size });
        let weight = if look.bold { r#" font-weight="600""# } else { "" };
        self.element(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{}" fill="{}" text-anchor="{anchor}"{weight}>{}</text>"#,
            look.size,
            look.colour,
            escape(text)
        ));
    }

    /// Where texts are.
    #[cfg(test)]
    pub fn texts(&self) -> &[Area] {
        &self.texts
    }

    /// The whole document.
    pub fn finish(self, width: f64, height: f64) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"{FONT}\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        )
    }

    fn element(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
