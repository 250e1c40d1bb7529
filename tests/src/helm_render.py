"""Renders the chart with values from standard input, as JSON: {"lint": […], "documents": {file: [document, …]}}.

python helm_render.py CHART
"""
import json
import sys

import helm_python as helm
import yaml

chart, values = sys.argv[1], json.load(sys.stdin)
try:
    with helm.Chart.load(chart) as loaded:
        rendered = loaded.render(values, name="ci", namespace="builds")
except helm.HelmError as error:
    sys.exit(str(error))
documents = {
    file: [document for document in yaml.safe_load_all(text) if document]
    for file, text in rendered.items()
    if file.endswith(".yaml")
}
# 1 is Helm's level of information.
lint = [message for message in helm.lint(chart)["messages"] if message["severity"] > 1]
json.dump({"lint": lint, "documents": documents}, sys.stdout)
