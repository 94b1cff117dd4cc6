//! The accounts and pages that all events speak of, decided by the seed alone.
//!
//! They are also the side inputs of the demo: [`side_inputs`] gives them as JSON lines, so every valid event finds its
//! account and page there.

use crate::random::{Random, Weighted};
use crate::text;

const ACCOUNTS: usize = 10_000;
const PRODUCTS: usize = 240;
/// 2022-01-01 00:00:00; accounts are from the four years behind it, whatever the clock says.
const FIRST_SIGN_UP: i64 = 1_640_995_200_000;
const SIGN_UP_SPAN: u64 = 4 * 365 * 86_400_000;

/// Country, weight, latitude and longitude of its middle in 1/10000 degree.
const COUNTRIES: [(&str, f64, i32, i32); 16] = [
    ("US", 26.0, 397_000, -986_000),
    ("DE", 12.0, 511_000, 104_000),
    ("GB", 10.0, 530_000, -15_000),
    ("FR", 8.0, 466_000, 25_000),
    ("IN", 8.0, 219_000, 785_000),
    ("BR", 6.0, -103_000, -531_000),
    ("JP", 6.0, 363_000, 1_382_000),
    ("CA", 5.0, 562_000, -1_063_000),
    ("ES", 4.0, 402_000, -36_000),
    ("IT", 4.0, 428_000, 128_000),
    ("NL", 3.0, 522_000, 53_000),
    ("PL", 2.0, 521_000, 194_000),
    ("AU", 2.0, -255_000, 1_344_000),
    ("SE", 2.0, 626_000, 167_000),
    ("CH", 1.0, 468_000, 82_000),
    ("MX", 1.0, 239_000, -1_025_000),
];
const SEGMENTS: [(&str, f64); 4] = [
    ("consumer", 60.0),
    ("premium", 20.0),
    ("business", 15.0),
    ("trial", 5.0),
];
const CATEGORIES: [&str; 8] = [
    "audio", "books", "camera", "garden", "kitchen", "office", "outdoor", "toys",
];
const ADJECTIVES: [&str; 10] = [
    "compact", "classic", "silent", "solar", "folding", "pocket", "steel", "bright", "modular",
    "travel",
];
const NOUNS: [&str; 12] = [
    "speaker", "lamp", "notebook", "kettle", "tripod", "backpack", "planter", "puzzle", "chair",
    "headset", "lens", "tent",
];
/// Pages that are no product: path, title, category, weight among the views.
const FIXED_PAGES: [(&str, &str, &str, f64); 10] = [
    ("/", "Home", "home", 30.0),
    ("/search", "Search", "search", 12.0),
    ("/deals", "Deals of the day", "deals", 8.0),
    ("/about", "About us", "content", 1.0),
    ("/help", "Help", "content", 2.0),
    ("/blog", "Blog", "content", 2.0),
    ("/login", "Sign in", "account", 0.0),
    ("/logout", "Sign out", "account", 0.0),
    ("/cart", "Cart", "checkout", 0.0),
    ("/checkout", "Checkout", "checkout", 0.0),
];

/// Index of `/login` and the other pages with a role.
pub(crate) const LOGIN_PAGE: u32 = 6;
pub(crate) const LOGOUT_PAGE: u32 = 7;
pub(crate) const CHECKOUT_PAGE: u32 = 9;

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: [u8; 36],
    country: usize,
    segment: &'static str,
    created_at: i64,
    /// Where its owner lives, in 1/10000 degree.
    pub(crate) latitude: i32,
    pub(crate) longitude: i32,
    /// Address of its owner, for web logs.
    pub(crate) address: [u8; 4],
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) path: String,
    title: String,
    category: &'static str,
    /// Price in cents, 0 where nothing is sold.
    pub(crate) price: u32,
}

/// Accounts and pages, and how popular each is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) accounts: Vec<Account>,
    pub(crate) pages: Vec<Page>,
    pub(crate) account_popularity: Weighted,
    pub(crate) page_popularity: Weighted,
}

/// The side inputs of the demo, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideInputs {
    /// `account_id`, `country` (ISO 3166, two letters), `segment`, `created_at` (`yyyy-MM-dd HH:mm:ss.SSS`).
    pub accounts: String,
    /// `source_path`, `page_title`, `page_category`.
    pub pages: String,
}

/// The accounts and pages that the events of this seed refer to.
#[must_use]
pub fn side_inputs(seed: u64) -> SideInputs {
    let world = World::new(seed);
    let mut accounts = Vec::with_capacity(ACCOUNTS * 150);
    for account in &world.accounts {
        accounts.extend_from_slice(b"{\"account_id\":\"");
        accounts.extend_from_slice(&account.id);
        accounts.extend_from_slice(b"\",\"country\":\"");
        accounts.extend_from_slice(COUNTRIES[account.country].0.as_bytes());
        accounts.extend_from_slice(b"\",\"segment\":\"");
        accounts.extend_from_slice(account.segment.as_bytes());
        accounts.extend_from_slice(b"\",\"created_at\":\"");
        text::sql_time(&mut accounts, account.created_at);
        accounts.extend_from_slice(b"\"}\n");
    }
    let pages = world
        .pages
        .iter()
        .map(|page| {
            let Page { path, title, category, .. } = page;
            // Neither field holds a character that JSON escapes.
            format!(
                "{{\"source_path\":\"{path}\",\"page_title\":\"{title}\",\"page_category\":\"{category}\"}}\n"
            )
        })
        .collect();
    SideInputs {
        accounts: String::from_utf8_lossy(&accounts).into_owned(),
        pages,
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        // Streams are counted from the top, so that no `stream` of the events is among them.
        let accounts = accounts(&mut Random::new(seed, u64::MAX));
        let pages = pages(&mut Random::new(seed, u64::MAX - 1));
        World {
            account_popularity: Weighted::zipf(ACCOUNTS, 0.8),
            page_popularity: view_weights(&pages),
            accounts,
            pages,
        }
    }
}

fn accounts(random: &mut Random) -> Vec<Account> {
    let countries: Vec<f64> = COUNTRIES.iter().map(|(_, weight, _, _)| *weight).collect();
    let countries = Weighted::new(&countries);
    let segments: Vec<f64> = SEGMENTS.iter().map(|(_, weight)| *weight).collect();
    let segments = Weighted::new(&segments);
    (0..ACCOUNTS)
        .map(|_| {
            let country = countries.draw(random);
            let (_, _, latitude, longitude) = COUNTRIES[country];
            // Within about two degrees of the country's middle.
            let spread = |random: &mut Random| (random.normal() * 8000.0) as i32;
            Account {
                id: text::uuid(random.next(), random.next()),
                country,
                segment: SEGMENTS[segments.draw(random)].0,
                created_at: FIRST_SIGN_UP + random.below(SIGN_UP_SPAN) as i64,
                latitude: (latitude + spread(random)).clamp(-900_000, 900_000),
                longitude: (longitude + spread(random)).clamp(-1_800_000, 1_800_000),
                address: [
                    // Outside of private and reserved networks.
                    11 + random.below(89) as u8,
                    random.below(256) as u8,
                    random.below(256) as u8,
                    1 + random.below(254) as u8,
                ],
            }
        })
        .collect()
}

fn pages(random: &mut Random) -> Vec<Page> {
    let fixed = FIXED_PAGES.iter().map(|(path, title, category, _)| Page {
        path: (*path).to_owned(),
        title: (*title).to_owned(),
        category,
        price: 0,
    });
    let mut pages: Vec<Page> = fixed.collect();
    for category in CATEGORIES {
        let path = format!("/c/{category}");
        pages.push(Page {
            path,
            title: capitalised(category),
            category,
            price: 0,
        });
    }
    for number in 0..PRODUCTS {
        let adjective = ADJECTIVES[random.below(ADJECTIVES.len() as u64) as usize];
        let noun = NOUNS[random.below(NOUNS.len() as u64) as usize];
        let category = CATEGORIES[random.below(CATEGORIES.len() as u64) as usize];
        // Log-normal, median 24.50, a tenth over 75.
        let price = (3.2 + 0.87 * random.normal()).exp().clamp(1.0, 5000.0);
        pages.push(Page {
            path: format!("/p/{adjective}-{noun}-{number}"),
            title: format!("{} {noun}", capitalised(adjective)),
            category,
            price: (price * 100.0) as u32,
        });
    }
    pages
}

/// How often each page is viewed: the fixed ones by their weight, products by rank.
fn view_weights(pages: &[Page]) -> Weighted {
    let mut rank = 0;
    let weights: Vec<f64> = pages
        .iter()
        .enumerate()
        .map(|(index, page)| match FIXED_PAGES.get(index) {
            Some((_, _, _, weight)) => *weight,
            None if page.price == 0 => 2.0,
            None => {
                rank += 1;
                20.0 * f64::from(rank).powf(-1.05)
            }
        })
        .collect();
    Weighted::new(&weights)
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
