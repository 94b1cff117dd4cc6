//! Visits to a shop: many open sessions, each a random walk from login over views and cart to purchase and logout.
//!
//! Which session acts next is drawn evenly, which makes the think times of each exponential and needs no timer queue.

use crate::random::{Random, Weighted};
use crate::text;
use crate::world::{CHECKOUT_PAGE, LOGIN_PAGE, LOGOUT_PAGE, World};

/// What a visitor did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    PageView,
    AddToCart,
    Purchase,
    Login,
    Logout,
}

/// The device of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    Mobile,
    Desktop,
    Tablet,
}

/// One step of one session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit {
    /// Random bits of the event's identifier.
    pub(crate) id: (u64, u64),
    pub(crate) session: [u8; 24],
    pub(crate) account: u32,
    pub(crate) page: u32,
    pub(crate) action: Action,
    pub(crate) platform: Platform,
    /// Value in cents, for what has one.
    pub(crate) cents: Option<u32>,
    /// Where the visitor is, in 1/10000 degree.
    pub(crate) latitude: i32,
    pub(crate) longitude: i32,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    token: [u8; 24],
    account: u32,
    /// The page last viewed.
    page: u32,
    /// What it did last; `None` before its first step.
    last: Option<Action>,
    platform: Platform,
    basket: u32,
    ended: bool,
}

/// All open sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    open: Vec<Session>,
    platforms: Weighted,
    /// For each last action: weights of the next ones; index 5 leaves without a word.
    steps: [Weighted; 5],
    first: Weighted,
}

const NEXT: [Option<Action>; 6] = [
    Some(Action::PageView),
    Some(Action::AddToCart),
    Some(Action::Purchase),
    Some(Action::Login),
    Some(Action::Logout),
    None,
];
/// From page_view, add_to_cart, purchase, login, logout to view, cart, purchase, login, logout, leaving; in percent.
const STEPS: [[f64; 6]; 5] = [
    [63.0, 15.0, 0.0, 2.0, 8.0, 12.0],
    [38.0, 14.0, 36.0, 0.0, 2.0, 10.0],
    [40.0, 0.0, 0.0, 0.0, 40.0, 20.0],
    [95.0, 0.0, 0.0, 0.0, 3.0, 2.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 100.0],
];
const FIRST: [f64; 6] = [35.0, 0.0, 0.0, 65.0, 0.0, 0.0];
/// Mobile, desktop, tablet.
const PLATFORMS: [(Platform, f64); 3] = [
    (Platform::Mobile, 55.0),
    (Platform::Desktop, 37.0),
    (Platform::Tablet, 8.0),
];
/// Steps that sessions already open at the start have behind them, at most.
const HEAD_START: u64 = 8;

impl Sessions {
    pub(crate) fn new(count: usize, world: &World, random: &mut Random) -> Sessions {
        let mut sessions = Sessions {
            open: Vec::with_capacity(count),
            platforms: Weighted::new(&PLATFORMS.map(|(_, weight)| weight)),
            steps: STEPS.map(|weights| Weighted::new(&weights)),
            first: Weighted::new(&FIRST),
        };
        for index in 0..count {
            let session = sessions.begin(world, random);
            sessions.open.push(session);
            // Without this, a run would begin with logins only.
            for _ in 0..random.below(HEAD_START) {
                sessions.step(index, world, random);
            }
        }
        sessions
    }

    /// The next step of some session.
    pub(crate) fn next(&mut self, world: &World, random: &mut Random) -> Visit {
        let index = random.below(self.open.len() as u64) as usize;
        self.step(index, world, random)
    }

    fn begin(&self, world: &World, random: &mut Random) -> Session {
        let mut token = *b"s-0000000000000000000000";
        let (high, low) = (random.next(), random.next());
        text::hex(&mut token[2..18], &high.to_be_bytes());
        text::hex(&mut token[18..], &low.to_be_bytes()[..3]);
        Session {
            token,
            account: world.account_popularity.draw(random) as u32,
            page: world.page_popularity.draw(random) as u32,
            last: None,
            platform: PLATFORMS[self.platforms.draw(random)].0,
            basket: 0,
            ended: false,
        }
    }

    fn step(&mut self, index: usize, world: &World, random: &mut Random) -> Visit {
        let mut session = self.open[index];
        let action = loop {
            if session.ended {
                session = self.begin(world, random);
            }
            let weights = match session.last {
                None => &self.first,
                Some(last) => &self.steps[last as usize],
            };
            match NEXT[weights.draw(random)] {
                // Nothing can be put into the cart where nothing is sold.
                Some(Action::AddToCart) if world.pages[session.page as usize].price == 0 => {
                    break Action::PageView;
                }
                Some(action) => break action,
                None => session.ended = true,
            }
        };
        let mut cents = None;
        let page = match action {
            Action::Login => LOGIN_PAGE,
            Action::Logout => {
                session.ended = true;
                LOGOUT_PAGE
            }
            Action::PageView => {
                session.page = world.page_popularity.draw(random) as u32;
                session.page
            }
            Action::AddToCart => {
                let quantity = 1 + (random.below(10) / 7 + random.below(10) / 9) as u32;
                let value = world.pages[session.page as usize].price * quantity;
                session.basket = session.basket.saturating_add(value);
                cents = Some(value);
                session.page
            }
            Action::Purchase => {
                cents = Some(session.basket);
                session.basket = 0;
                CHECKOUT_PAGE
            }
        };
        session.last = Some(action);
        self.open[index] = session;
        let account = &world.accounts[session.account as usize];
        let wander = random.next();
        Visit {
            id: (random.next(), random.next()),
            session: session.token,
            account: session.account,
            page,
            action,
            platform: session.platform,
            cents,
            latitude: account.latitude + (wander & 0x3f) as i32 - 32,
            longitude: account.longitude + (wander >> 8 & 0x3f) as i32 - 32,
        }
    }
}

impl Action {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Action::PageView => "page_view",
            Action::AddToCart => "add_to_cart",
            Action::Purchase => "purchase",
            Action::Login => "login",
            Action::Logout => "logout",
        }
    }
}

impl Platform {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Platform::Mobile => "mobile",
            Platform::Desktop => "desktop",
            Platform::Tablet => "tablet",
        }
    }
}
