"""The resilience harness for on-prem GitOps platforms.

A *scenario* holds an *Online Boutique* under load, injects a *fault* at a *target*, *proves* that it bites, reverts
it, *records* everything in a *history*, and then *judges* the history against a *contract*: PASS, FAIL or UNKNOWN.
"""
