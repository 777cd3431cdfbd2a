//! What the colours mean.

use wgha_tests::Which;

use super::{
    super::timeline,
    INK, LOST, OUTAGE, colour_of, lanes,
    svg::{Area, Svg, Text},
};

const ROLES: [&str; 7] = ["active", "claiming", "backup", "fault", "stopping", "off", "cut off"];

/// Draws it in one line.
pub fn draw(svg: &mut Svg, x: f64, y: f64) {
    let look = Text::new(12.0, INK);
    let mut x = x;
    let mut entry = |svg: &mut Svg, fill: &str, size: (f64, f64), name: &str| {
        let (width, height) = size;
        svg.rect(Area { x, y: y - 4.0 - height / 2.0, width, height }, fill, 2.0);
        svg.text(x + width + 6.0, y, name, &look);
        x += width + 6.0 + look.width(name) + 16.0;
    };
    for which in Which::BOTH {
        entry(svg, colour_of(which), (10.0, 10.0), &format!("answered by {which}"));
    }
    entry(svg, LOST, (3.0, 10.0), "lost");
    entry(svg, OUTAGE, (14.0, 12.0), "tunnel silent");
    for role in ROLES {
        entry(svg, lanes::colours(role).0, (14.0, 12.0), timeline::role(role));
    }
}
