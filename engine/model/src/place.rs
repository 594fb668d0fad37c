//! Places on earth, and distances that every machine computes alike: only additions, multiplications and divisions,
//! which IEEE 754 rounds in one way.

use std::fmt;

/// A place, in ten-millionths of a degree (about a centimetre).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Latitude, -90 to 90 degrees.
    pub lat_e7: i32,
    /// Longitude, -180 to 180 degrees.
    pub lon_e7: i32,
}

/// Numbers that are no place.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum PlaceError {
    /// Not from -90 to 90, or not a number.
    #[error("lat must be a number from -90 to 90")]
    Latitude,
    /// Not from -180 to 180, or not a number.
    #[error("lon must be a number from -180 to 180")]
    Longitude,
}

impl PlaceError {
    /// The name of the field, as messages have it.
    pub fn field(self) -> &'static str {
        match self {
            PlaceError::Latitude => "lat",
            PlaceError::Longitude => "lon",
        }
    }
}

const POLE_E7: f64 = 9e8;
/// Within this distance of a pole (a degree), distances are measured on the plane at the pole. Farther away the error
/// is too small for the distances of a game.
const POLAR_E7: f64 = 1e7;
const METRES_PER_E7: f64 = 0.011_131_949_079_327_358; // of latitude, on a sphere with the equatorial radius

impl Place {
    /// A place from degrees; not a number, infinite and out of range are errors.
    pub fn from_degrees(lat: f64, lon: f64) -> Result<Place, PlaceError> {
        if !(-90.0..=90.0).contains(&lat) {
            return Err(PlaceError::Latitude);
        }
        if !(-180.0..=180.0).contains(&lon) {
            return Err(PlaceError::Longitude);
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked above: at most 1.8e9")]
        let e7 = |degrees: f64| (degrees * 1e7).round() as i32;
        Ok(Place { lat_e7: e7(lat), lon_e7: e7(lon) })
    }

    /// Latitude in degrees.
    pub fn lat(self) -> f64 {
        f64::from(self.lat_e7) / 1e7
    }

    /// Longitude in degrees.
    pub fn lon(self) -> f64 {
        f64::from(self.lon_e7) / 1e7
    }

    /// Square of the distance in metres, on a plane that touches the earth between the two places, or near a pole
    /// there: right to a thousandth for the distances of a game, and nowhere smaller than the truth by enough to
    /// matter.
    pub fn distance_m_squared(self, other: Place) -> f64 {
        if let Some(distance) = self.distance_m_squared_by_pole(other) {
            return distance;
        }
        let south_north = f64::from(self.lat_e7) - f64::from(other.lat_e7);
        let middle = (f64::from(self.lat_e7) + f64::from(other.lat_e7)) / 2e7;
        let west_east = (i64::from(self.lon_e7) - i64::from(other.lon_e7)).abs();
        let west_east = west_east.min(3_600_000_000 - west_east) as f64 * cos_degrees(middle);
        let (x, y) = (west_east * METRES_PER_E7, south_north * METRES_PER_E7);
        x * x + y * y
    }

    /// As above where meridians meet: each place by its distance from the pole and its direction. None unless both
    /// are on one side of the equator and one is within a degree of its pole; elsewhere decisions in journals stay as
    /// they are.
    fn distance_m_squared_by_pole(self, other: Place) -> Option<f64> {
        let is_on_one_side = (self.lat_e7 < 0) == (other.lat_e7 < 0);
        let from_pole = |place: Place| POLE_E7 - f64::from(place.lat_e7).abs();
        let (ours, theirs) = (from_pole(self), from_pole(other));
        if !is_on_one_side || ours.min(theirs) > POLAR_E7 {
            return None;
        }
        let apart = (i64::from(self.lon_e7) - i64::from(other.lon_e7)).abs();
        let apart_degrees = apart.min(3_600_000_000 - apart) as f64 / 1e7;
        // The law of cosines with half the angle, so that near places do not cancel out: sin(a/2) = cos(90° - a/2).
        let sine = cos_degrees(90.0 - apart_degrees / 2.0);
        let (along, across) = ((ours - theirs) * METRES_PER_E7, 2.0 * sine * METRES_PER_E7);
        Some(along * along + across * across * ours * theirs)
    }

    /// The place `north` and `east` metres from here; stays on the map.
    pub fn moved(self, north_m: f64, east_m: f64) -> Place {
        let lat = (self.lat() + north_m / (METRES_PER_E7 * 1e7)).clamp(-89.9, 89.9);
        let lon = self.lon() + east_m / (METRES_PER_E7 * 1e7 * cos_degrees(lat));
        let lon = if lon > 180.0 {
            lon - 360.0
        } else if lon < -180.0 {
            lon + 360.0
        } else {
            lon
        };
        Place::from_degrees(lat, lon).unwrap_or(self)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.7},{:.7}", self.lat(), self.lon())
    }
}

/// Cosine for -90 to 90 degrees, by its series up to x^16: the next term is below 1e-11. The library's `cos` may
/// differ in the last bit from one machine to the next, and a bit can decide a capture.
fn cos_degrees(degrees: f64) -> f64 {
    let x = degrees * 0.017_453_292_519_943_295;
    let square = x * x;
    let mut sum = 1.0;
    let mut n = 16.0;
    while n > 0.0 {
        sum = 1.0 - sum * square / (n * (n - 1.0));
        n -= 2.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lat: f64, lon: f64) -> Place {
        Place::from_degrees(lat, lon).unwrap()
    }

    #[test]
    fn what_is_no_place_is_an_error() {
        for lat in [f64::NAN, f64::INFINITY, -f64::INFINITY, 90.001, -91.0, 1e300] {
            assert_eq!(Place::from_degrees(lat, 0.0), Err(PlaceError::Latitude));
        }
        for lon in [f64::NAN, f64::INFINITY, 180.5, -1e9] {
            assert_eq!(Place::from_degrees(0.0, lon), Err(PlaceError::Longitude));
        }
        assert_eq!(place(90.0, -180.0), Place { lat_e7: 900_000_000, lon_e7: -1_800_000_000 });
    }

    #[test]
    fn distances_agree_with_the_great_circle() {
        let haversine = |a: Place, b: Place| {
            let (la, lb) = (a.lat().to_radians(), b.lat().to_radians());
            let (dla, dlo) = (la - lb, (a.lon() - b.lon()).to_radians());
            let h = (dla / 2.0).sin().powi(2) + la.cos() * lb.cos() * (dlo / 2.0).sin().powi(2);
            2.0 * 6_378_137.0 * h.sqrt().asin()
        };
        for (lat, lon) in [(0.0, 0.0), (40.4168, -3.7038), (-54.8, -68.3), (71.0, 25.8), (10.0, 179.9999)] {
            let here = place(lat, lon);
            for (north, east) in [(0.0, 40.0), (40.0, 0.0), (-700.0, 700.0), (1500.0, 1500.0)] {
                let there = here.moved(north, east);
                let (ours, truth) = (here.distance_m_squared(there).sqrt(), haversine(here, there));
                assert!((ours - truth).abs() <= 0.001 * truth + 0.02, "{here} {there}: {ours} {truth}");
            }
        }
    }

    #[test]
    fn a_pole_is_a_place_like_others() {
        const METRES_PER_DEGREE: f64 = METRES_PER_E7 * 1e7;
        let metres = |a: Place, b: Place| a.distance_m_squared(b).sqrt();
        for side in [-1.0, 1.0] {
            let at = |from_pole_m: f64, lon| place(side * (90.0 - from_pole_m / METRES_PER_DEGREE), lon);
            for (ours, theirs, truth) in [
                (at(20.0, 0.0), at(20.0, 180.0), 40.0),
                (at(20.0, -90.0), at(20.0, 90.0), 40.0),
                (at(30.0, 10.0), at(40.0, 100.0), 50.0),
                (at(20.0, 179.0), at(20.0, -179.0), 0.698),
                (at(20.0, 5.0), at(20.0, 5.0), 0.0),
                (at(0.0, 0.0), at(0.0, 123.0), 0.0),
                (at(0.0, 77.0), at(1_000.0, -12.0), 1_000.0),
                (at(100_000.0, 0.0), at(100_000.0, 0.02), 34.9),
            ] {
                let (there, back) = (metres(ours, theirs), metres(theirs, ours));
                assert!((there - truth).abs() < 0.03 && there == back, "{ours} {theirs}: {there} {back} {truth}");
            }
            // No step where one plane takes over from the other.
            let (inside, outside) = (at(METRES_PER_DEGREE - 1.0, 0.0), at(METRES_PER_DEGREE + 1.0, 0.0));
            for lon in [0.001, 0.1, 1.0] {
                let there = metres(inside, place(inside.lat(), lon));
                let step = there - metres(outside, place(outside.lat(), lon));
                assert!(step.abs() < 0.02 + there / 1_000.0, "{step}");
            }
        }
        assert!(metres(place(90.0, 0.0), place(-90.0, 0.0)) > 1e7);
    }

    #[test]
    fn the_date_line_is_no_wall() {
        assert!(place(0.0, 179.9999).distance_m_squared(place(0.0, -179.9999)).sqrt() < 23.0);
    }
}
