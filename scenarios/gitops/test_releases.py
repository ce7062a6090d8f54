"""What changes in Git reaches users, or is taken back."""

from __future__ import annotations

from dataclasses import replace

from harness.boutique.deploy import retag_frontend
from harness.judge import nothing_else_fires, released, rolled_back, users


def test_a_pushed_release_reaches_users(story, platform, shoppers):
    """A new version is pushed to Git: all its pods become Ready and users are served by it."""
    retag_frontend(platform.env, "v0.10.4-next")
    with story(load=shoppers.steady()) as s:
        s.expect(
            released("2"),
            nothing_else_fires(),
            users(after="recovery", errors_below=0.01, p95_below_s=3),
        )
        s.push(replace(s.release, version="2", frontend_tag="v0.10.4-next"), "release")


def test_a_bad_image_is_noticed_and_rolled_back_by_a_revert(story, shoppers):
    """An image that does not exist is pushed: it never serves anybody, on-call hears of it, and a revert takes it back."""
    with story(load=shoppers.steady()) as s:
        good = s.release
        s.expect(rolled_back(), nothing_else_fires(allow=["PodNotRunning"]))
        s.push(replace(good, version="bad", frontend_tag="v0.0.0-does-not-exist"), "bad")
        s.await_(s.delivered("PodNotRunning"), 120)
        s.push(good, "revert")
