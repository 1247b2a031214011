//! `strftime` of the present moment, in UTC, for templates that print the date.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// (year, month, day) of a day counted from 1970-01-01.
fn date(mut day: u64) -> (u64, usize, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let mut month = 0;
    loop {
        let length = match month {
            1 if leap(year) => 29,
            1 => 28,
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        };
        if day < length {
            return (year, month + 1, day + 1);
        }
        day -= length;
        month += 1;
    }
}

/// The codes that templates use; an unknown code is kept as it is.
pub(super) fn strftime(format: &str, seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let weekday = DAYS[(days % 7) as usize];
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut code = rest.next();
        let unpadded = code == Some('-');
        if unpadded {
            code = rest.next();
        }
        let two = |number: u64| if unpadded { number.to_string() } else { format!("{number:02}") };
        match code {
            Some('Y') => text += &year.to_string(),
            Some('y') => text += &two(year % 100),
            Some('m') => text += &two(month as u64),
            Some('d') => text += &two(day),
            Some('B') => text += MONTHS[month - 1],
            Some('b') => text += &MONTHS[month - 1][..3],
            Some('A') => text += weekday,
            Some('a') => text += &weekday[..3],
            Some('H') => text += &two(hour),
            Some('I') => text += &two(twelve),
            Some('M') => text += &two(minute),
            Some('S') => text += &two(second),
            Some('p') => text += if hour < 12 { "AM" } else { "PM" },
            Some('%') => text.push('%'),
            Some(other) => text.extend(['%', other]),
            None => text.push('%'),
        }
    }
    text
}
