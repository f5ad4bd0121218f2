"""Who may enter and do what: roles, claims, the guard before the decisions, what pages show and do."""

import time

import pytest
import streamlit as st
from browser import flag_many
from helpers import digests, make_run
from streamlit.testing.v1 import AppTest

from lossprint.app.access import roles
from lossprint.audit.export.applied import applied
from lossprint.audit.review.reviews import Reviews, open_reviews
from lossprint.audit.runs.open import open_run
from lossprint.audit.types import LossprintError

ROLES = """
default = "none"
[roles]
"Ann@Lab.example" = "owner"
"rob@lab.example" = "reviewer"
"out@lab.example" = "none"
"*@lab.example" = "viewer"
"""
NAMED = ("kate", "boss", "finn", "*")
BY = {"viewer": "vic@lab.example", "reviewer": "rob@lab.example", "owner": "ann@lab.example"}


def said(email: str | None, **more) -> dict:
    now = time.time()
    about = {"is_logged_in": True, "sub": str(email), "iss": "x", "iat": now, "exp": now + 6 * 3600, "nonce": str(now)}
    return {**about, **({"email": email} if email else {}), **more}


@pytest.fixture
def as_(monkeypatch, tmp_path):
    """Ask for a login, with the roles file above; call it with claims to be that user from then on."""
    file = tmp_path / "roles.toml"
    file.write_text(ROLES)
    monkeypatch.setenv(roles.LOGIN, "1")
    monkeypatch.setenv(roles.FILE, str(file))

    def be(claims: dict) -> None:
        monkeypatch.setattr(roles, "claims", lambda: claims)

    be({"is_logged_in": False})
    be.file = file
    return be


# ---------------------------------------------------------------------------------------------- roles and claims


def test_an_address_beats_its_domain_which_beats_the_default(tmp_path):
    table = tmp_path / "roles.csv"
    table.write_text("email,role\nAnn@Lab.example,owner\n*@lab.example,viewer\nout@lab.example,none\n")
    (tmp_path / "roles.toml").write_text('default = "viewer"\n' + ROLES.replace('default = "none"', ""))
    for file, stranger in (("roles.csv", None), ("roles.toml", "viewer")):
        found = roles.read_roles(tmp_path / file)
        assert [found.role(f"{name}@lab.example") for name in ("ann", "other", "out")] == ["owner", "viewer", None]
        assert found.role("ann@lab.example.evil.example") == found.role("eve@notlab.example") == stranger


@pytest.mark.parametrize(
    "address",
    [
        "\u212aate@lab.example",  # the Kelvin sign
        "bo\u017fs@lab.example",  # a long s
        "\ufb01nn@lab.example",  # a ligature
        "\uff4bate@lab.example",  # fullwidth
        "stranger@\uff4cab.example",
    ],
)
def test_who_only_looks_like_a_listed_address_does_not_enter(as_, address):
    as_.file.write_text('default = "viewer"\n[roles]\n' + "".join(f'"{n}@Lab.example" = "owner"\n' for n in NAMED))
    as_(said(address))
    assert roles.visitor().role is None and roles.visitor().why == roles.UNKNOWN
    for name in NAMED:
        as_(said(f"{name.upper().replace('*', 'ANN')}@lab.example"))
        assert roles.visitor().role == "owner"
    as_(said("stra\u00dfe@elsewhere.example"))  # like nobody's: the default
    assert roles.visitor().role == "viewer"


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("r.toml", "roles = 3", "expected [roles]"),
        ("r.toml", '[roles]\n"a@b" = "admin"', "found 'admin' for a@b"),
        ("r.toml", '[roles]\n"*" = "owner"', "expected an e-mail address or *@domain, found '*'"),
        ("r.toml", '[roles]\n"a@b" = "owner"\n"A@B" = "none"', "found a@b twice"),
        ("r.toml", 'admins = ["a@b"]', "found admins"),
        ("r.toml", "default = 'all'", "found 'all' for default"),
        ("r.toml", "hours = -1", "found -1"),
        ("r.toml", "not toml", "none that can be read"),
        ("r.csv", "mail,role\na@b,owner", "found mail,role"),
        ("r.csv", "", "found nothing"),
        ("r.csv", "email,role\na@b", "found '' for a@b"),
        ("missing.toml", None, "No such file"),
    ],
)
def test_a_roles_file_that_is_wrong_is_one_line(tmp_path, name, text, told):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(LossprintError) as error:
        roles.read_roles(tmp_path / name)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "claims, role, why",
    [
        (said("ann@lab.example"), "owner", ""),
        (said("ANN@lab.EXAMPLE "), "owner", ""),
        (said("rob@lab.example", email_verified=True), "reviewer", ""),
        (said("vic@lab.example", email_verified="true"), "viewer", ""),
        (said("ann@lab.example", email_verified=False), None, roles.UNVERIFIED),
        (said("ann@lab.example", email_verified="false"), None, roles.UNVERIFIED),
        (said("ann@lab.example", email_verified=None), None, roles.UNVERIFIED),
        (said("ann@lab.example", exp=time.time() - 1), None, roles.EXPIRED),
        (said("ann@lab.example", exp=None), None, roles.EXPIRED),
        (said("ann@lab.example", exp="later"), None, roles.EXPIRED),
        (said("ann@lab.example", exp=True), None, roles.EXPIRED),
        (said("ann@lab.example", is_logged_in=False), None, roles.SIGNED_OUT),
        (said("ann@lab.example", is_logged_in="yes"), None, roles.SIGNED_OUT),
        ({}, None, roles.SIGNED_OUT),
        (said("out@lab.example"), None, roles.UNKNOWN),
        (said("eve@elsewhere.example"), None, roles.UNKNOWN),
        (said("eve@elsewhere.example@lab.example x"), None, roles.UNKNOWN),
        (said("x@y\n*@lab.example"), None, roles.UNKNOWN),
        (said(None, name="ann@lab.example", preferred_username="ann@lab.example"), None, roles.UNKNOWN),
        (said(["ann@lab.example"]), None, roles.UNKNOWN),
    ],
)
def test_claims_make_a_role_or_nobody(as_, claims, role, why):
    as_(claims)
    assert (roles.visitor().role, roles.visitor().why) == (role, why)
    assert roles.visitor(claims) == roles.visitor()
    for one in roles.ROLES:
        allowed = role is not None and roles.ROLES.index(role) >= roles.ROLES.index(one)
        assert roles.may(one) == allowed
        if not allowed:
            with pytest.raises(roles.Refused) as error:
                roles.require(one, "to do this")
            assert "\n" not in str(error.value)


def test_roles_count_as_the_file_says_them_now_and_nobody_has_one_without_it(as_):
    as_(said("rob@lab.example"))
    assert roles.may("reviewer")
    as_.file.write_text(ROLES.replace('"reviewer"', '"viewer"'))
    assert not roles.may("reviewer") and roles.may("viewer")
    as_.file.write_text("broken")
    assert not roles.may("viewer")
    as_.file.unlink()
    assert not roles.may("viewer")


def test_a_login_may_last_longer_than_its_token_and_ends_with_signing_out(as_):
    one = said("ann@lab.example", iat=time.time() - 3600, exp=time.time() - 3000)
    as_(one)
    assert roles.visitor().why == roles.EXPIRED
    as_.file.write_text("hours = 2\n" + ROLES)
    assert roles.may("owner")
    as_.file.write_text("hours = 0.5\n" + ROLES)
    assert roles.visitor().why == roles.EXPIRED
    as_.file.write_text(ROLES)
    first = said("ann@lab.example")
    as_(first)
    roles.forget()
    assert roles.visitor().why == roles.SIGNED_OUT == roles.visitor(dict(first)).why, "its cookie, kept elsewhere"
    as_(said("ann@lab.example", nonce="another login"))
    assert roles.may("owner")


def test_without_a_login_whoever_is_there_is_the_owner(monkeypatch):
    monkeypatch.delenv(roles.LOGIN, raising=False)
    assert roles.visitor() == roles.OWNER and roles.may("owner") and roles.visitor().email == ""


# ---------------------------------------------------------------------------------------------- decisions


def row(reviewer: str, sample: int = 10, **more) -> dict:
    return {"finding": f"label_error:{sample}", "sample": sample, "decision": "keep", "reviewer": reviewer, **more}


@pytest.fixture
def run(tmp_path):
    made = make_run(tmp_path / "one", train=30, held_out=6)
    flag_many(made)
    return made


def attempts(kept, who: str) -> dict:
    """Everything that can be written, by who may do it at the least."""
    return {
        ("decide", "reviewer"): lambda: kept.add_all([row(who)]),
        ("add", "reviewer"): lambda: kept.add(**row(who, 11)),
        ("take back", "reviewer"): lambda: kept.undo(who),
        ("take back some", "reviewer"): lambda: kept.undo_ids(who, [1]),
        ("hold", "reviewer"): lambda: kept.claim("label_error:10", who, "s"),
        ("settle", "owner"): lambda: kept.add(**row(who, 12, role="adjudication")),
        ("bring in", "owner"): lambda: kept.add_all([row("somebody", 13, role="import")]),
        ("mix", "owner"): lambda: kept.add_all([row(who, 14), row(who, 15, role="adjudication")]),
        ("share out", "owner"): lambda: kept.assign([("label_error:10", who)]),
        ("take back others'", "owner"): lambda: kept.undo_ids("somebody", [1, 2, 3, 4, 5]),
        ("in another's name", "nobody"): lambda: kept.add(**row("somebody", 16)),
        ("settle in another's name", "nobody"): lambda: kept.add(**row("somebody", 17, role="adjudication")),
        ("take back as another", "nobody"): lambda: kept.undo("somebody"),
        ("hold as another", "nobody"): lambda: kept.claim("label_error:10", "somebody", "s"),
    }


@pytest.mark.parametrize("role", [None, *roles.ROLES])
def test_the_decisions_are_guarded_and_nothing_else_of_them_can_be_called(as_, run, role):
    as_(said(BY[role]) if role else said("eve@elsewhere.example"))
    with open_reviews(run) as inner:
        kept = roles.Guarded(inner)
        for (what, least), attempt in attempts(kept, BY[role or "viewer"]).items():
            before = digests(run.path)
            if role is not None and least in roles.ROLES and roles.visitor().may(least):
                attempt()
                continue
            with pytest.raises(roles.Refused):
                attempt()
            assert digests(run.path) == before, what
        public = {name for name in dir(Reviews) if not name.startswith("_")} | set(vars(inner))
        guarded = {name for name in vars(roles.Guarded) if not name.startswith("_")}
        for name in public - roles.READ - guarded:
            with pytest.raises(AttributeError):
                getattr(kept, name)
        assert {"add", "add_all", "undo", "undo_ids", "assign", "claim"} == guarded
        if role == "owner":
            assert set(inner.history()["reviewer"]) == {BY["owner"], "somebody"}


def test_a_file_is_for_the_owner_who_had_it_made(as_, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        st, "download_button", lambda label, made, name, kind, **options: drawn.update({name: (made, options)})
    )
    as_(said(BY["owner"]))
    roles.download("Take", lambda: "a,b\n", "a.csv", key="k")
    made, options = drawn["a.csv"]
    assert not options.get("disabled")
    monkeypatch.setattr(roles, "claims", dict)  # it is made in a thread of its own, where nobody is signed in
    assert made() == b"a,b\n"
    ann, other = roles.visitor(said(BY["owner"])), roles.visitor(said(BY["reviewer"]))
    assert roles.handed_out(b"a,b\n", ann)
    assert not roles.handed_out(b"a,b\n", other) and not roles.handed_out(b"a,c\n", ann)
    as_.file.write_text(ROLES.replace('"owner"', '"viewer"'))
    with pytest.raises(roles.Refused):
        made()  # no owner any more
    assert not roles.handed_out(b"a,b\n", roles.visitor(said(BY["owner"])))
    as_(said(BY["reviewer"]))
    roles.download("Take", lambda: pytest.fail("it was made"), "b.csv", key="k")
    made, options = drawn["b.csv"]
    assert options["disabled"]
    with pytest.raises(roles.Refused):
        made()


# ---------------------------------------------------------------------------------------------- pages


def open_page(name: str, runs, monkeypatch, **params) -> AppTest:
    st.cache_resource.clear()
    monkeypatch.setenv("LOSSPRINT_RUNS", str(runs))
    app = AppTest.from_string(f"from lossprint.app import main\nmain.main({name!r})", default_timeout=30)
    app.query_params.update(params)
    app.secrets["auth"] = {"client_id": "i"}
    return app.run()


def words(app: AppTest) -> str:
    return "\n".join(str(one) for one in [*app.main, *app.sidebar])


SHUT = {
    roles.SIGNED_OUT: {"is_logged_in": False},
    roles.EXPIRED: said("ann@lab.example", exp=1),
    roles.UNVERIFIED: said("ann@lab.example", email_verified=False),
    roles.UNKNOWN: said("eve@elsewhere.example"),
}


@pytest.mark.parametrize("why", SHUT)
def test_nobody_sees_anything_who_may_not_enter(as_, run, monkeypatch, why):
    as_(SHUT[why])
    monkeypatch.setattr("lossprint.app.data.list_runs", lambda *_: pytest.fail("the runs were looked at"))
    monkeypatch.setattr("lossprint.app.data.load", lambda *_: pytest.fail("a run was read"))
    for name in ["overview", "labels", "sample", "review", "export"] if why == roles.SIGNED_OUT else ["labels"]:
        app = open_page(name, run.path, monkeypatch, open="10", sample="10")
        assert not app.exception and not app.sidebar
        assert [one.value for one in app.title] == ["Lossprint"]
        assert [one.label for one in app.button] == (
            ["Sign in"] if why in (roles.SIGNED_OUT, roles.EXPIRED) else ["Sign out"]
        )
        for hidden in (run.path.name + "**", "coat", "90", "label_error", "data:image"):
            assert hidden not in words(app), (name, hidden)


def press_all(app: AppTest) -> int:
    """Press every button of a page, whether or not it is disabled, and change every choice of another label."""
    keys = [one.key for one in app.button if one.key != "sign-out" and "chevron" not in one.key]
    for key in keys:
        found = [one for one in app.button if one.key == key]
        if found:
            found[0].proto.disabled = False  # as a forged event does
            found[0].click().run()
    for one in [one for one in app.selectbox if (one.key or "").endswith("-other")]:
        one.select(one.options[0]).run()
    return len(keys)


@pytest.mark.parametrize("role", ["viewer", "reviewer", "owner"])
def test_every_button_does_only_what_the_role_allows(as_, run, monkeypatch, role):
    monkeypatch.delenv(roles.LOGIN)
    with open_reviews(run) as kept:
        kept.add_all([row("ann", 10), row("bob", 10) | {"decision": "exclude"}])
    from lossprint.audit.coresets import coreset as coresets

    source = coresets.source_of(applied(run, open_reviews(run)), ("random",))
    ask = coresets.Ask("random", fraction=0.5)
    coresets.keep(run, source, ask, "mine", coresets.choose(source, ask))
    monkeypatch.setenv(roles.LOGIN, "1")
    as_(said(BY[role]))
    before, pressed = digests(run.path), 0
    # The pages with buttons of Streamlit that write; questions and galleries are tried in test_browser_login.py.
    names = ["reviewers", "coreset", "export", *(["labels", "duplicates"] if role == "viewer" else [])]
    for name in names:
        app = open_page(name, run.path, monkeypatch, **({"open": "11"} if name == "labels" else {}))
        assert not app.exception and [one.value for one in app.error] == [], name
        assert any(role.capitalize() in one.value for one in app.sidebar.caption)
        pressed += press_all(app)
        assert not app.exception, name
    after = digests(run.path)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    with open_reviews(open_run(run.path)) as kept:
        history, given = kept.history(), kept.assignments()
    mine = history[~history["reviewer"].isin(["ann", "bob"])]
    if role == "viewer":
        assert pressed > 15 and changed == set()
    assert mine.empty
    if role != "owner":
        assert given.empty and changed == set()
    else:
        assert len(given) and any("exports" in one for one in changed)
        assert "mine" not in run.selections(), "it was deleted"


def test_a_forged_name_in_the_sidebar_is_not_taken(as_, run, monkeypatch):
    from lossprint.app.shared import decide

    as_(said(BY["reviewer"]))
    monkeypatch.setattr(st, "session_state", {"reviewer": "ann@lab.example"})
    assert decide.reviewer() == BY["reviewer"]


def test_an_insecure_server_says_so_on_every_page(run, monkeypatch):
    monkeypatch.setenv("LOSSPRINT_INSECURE", "0.0.0.0")
    for name in ("overview", "labels", "review", "export"):  # drawn before any page
        app = open_page(name, run.path, monkeypatch)
        assert any("No login" in one.value and "0\\.0\\.0\\.0" in one.value for one in app.warning), name
