"""`longtail model ...`: train, measure and export models, and publish them for vehicles."""

from __future__ import annotations

from cli import model_eval, model_export, model_train, publish

app = publish.app
app.command("train")(model_train.train)
app.command("teach")(model_train.teach)
app.command("distill")(model_train.distill)
app.command("export")(model_export.export)
app.command("pack")(model_export.pack)
app.command("eval")(model_eval.evaluate_model)
app.command("report")(model_eval.report_model)
