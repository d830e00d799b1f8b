"""The schemas of the custom resources that deploy/kubernetes uses, out of the Go modules that define them.

``python -m tests.deploy.crds`` takes them from there anew. Both modules are under the Apache License 2.0, as this
project is. Descriptions are left out, and what a schema does not name is not allowed: an API server would drop it in
silence.
"""
