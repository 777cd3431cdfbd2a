//! A lane per server: its role over time.

use wgha_tests::Which;

use super::{
    super::{recording::Recording, timeline},
    SOFT, colour_of,
    scale::TimeScale,
    svg::{Area, Svg, Text},
};

/// Between the lanes of A and B.
const GAP: f64 = 4.0;

/// Height of both lanes, each of `height`.
pub const fn height(height: f64) -> f64 {
    2.0 * height + GAP
}

/// Upper edge of a server's lane, from that of both.
pub const fn y(which: Which, top: f64, height: f64) -> f64 {
    match which {
        Which::A => top,
        Which::B => top + height + GAP,
    }
}

/// Draws both, until a time, at their upper edge and each of a height.
pub fn draw(svg: &mut Svg, recording: &Recording, scale: &impl TimeScale, until_ns: u64, at: (f64, f64)) {
    let (top, height) = at;
    for which in Which::BOTH {
        let y = y(which, top, height);
        let middle = y + height / 2.0;
        let look = Text::new(12.0, colour_of(which)).bold().before();
        svg.text(scale.ends().0 - 6.0, middle + 4.0, &format!("server {which}"), &look);
        let mut roles = recording.roles(which);
        roles.retain(|(at, _)| *at < until_ns);
        lane(svg, &roles, scale, (scale.x(until_ns), y), height);
    }
}

fn lane(svg: &mut Svg, roles: &[(u64, &str)], scale: &impl TimeScale, end: (f64, f64), height: f64) {
    let (end, y) = end;
    let ends = roles.iter().skip(1).map(|(at, _)| scale.x(*at)).chain([end]);
    for ((at, role), end) in roles.iter().zip(ends) {
        let x = scale.x(*at);
        let width = end - x;
        if width <= 0.0 {
            continue;
        }
        let (fill, ink) = colours(role);
        svg.rect(Area { x, y, width, height }, fill, 2.0);
        let look = Text::new(11.0, ink).centred();
        let name = timeline::role(role);
        if look.width(name) + 6.0 < width {
            svg.text(x + width / 2.0, y + height / 2.0 + 4.0, name, &look);
        }
    }
}

/// Fill and ink of a role.
pub fn colours(role: &str) -> (&'static str, &'static str) {
    match role {
        "active" => ("#16a34a", "#ffffff"),
        "claiming" => ("#bef264", "#1a2e05"),
        "backup" => ("#cbd5e1", "#334155"),
        "fault" => ("#9333ea", "#ffffff"),
        "stopping" => ("#94a3b8", "#ffffff"),
        "cut off" => ("#1e293b", "#ffffff"),
        _ => ("#f1f5f9", SOFT),
    }
}
