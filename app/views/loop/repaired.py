"""What `lossprint repair` came to: the model repaired with verified samples, beside fine-tuning and retraining."""

import shlex

import pandas as pd
import streamlit as st

from lossprint.app import data
from lossprint.app.shared import parts
from lossprint.audit.repair.words import NAMES
from lossprint.audit.runs import beside
from lossprint.audit.types import LossprintError


def section(loaded: data.Loaded) -> None:
    """The latest repair of a run, or how to try one; nothing of texts, whose networks it cannot ask."""
    if not loaded.media.trained:
        return
    st.subheader("A model repaired without a training", anchor=False)
    try:
        result = beside.repair(loaded.run)
    except LossprintError as error:
        st.error(parts.md(error), icon=":material/error:")
        return
    if result is None:
        st.caption(
            "Verified samples say which directions of a network's weights matter; the others, where wrong labels were "
            "learnt, fade. Fine-tuning and retraining are tried beside it: the command says which is better."
        )
        command = ["lossprint", "repair", "own", "--run", str(loaded.run.path)]
        st.code(shlex.join(command), language=None, wrap_lines=True)
        return
    st.caption(parts.md(result["model"]))
    for sentence in [*result["notes"], *result["sentences"]]:
        st.markdown(f"- {parts.md(sentence)}")
    table = pd.DataFrame(result["arms"])
    names = table["arm"].map(NAMES).fillna(table["arm"])
    table["arm"] = names.str[:1].str.upper() + names.str[1:]
    st.dataframe(
        table[["arm", "accuracy", "low", "high"]],
        hide_index=True,
        alt="Accuracy of each model on samples that chose nothing, with its 90 % interval",
        column_config={
            "arm": "Model",
            "accuracy": st.column_config.ProgressColumn("Accuracy", format="percent", min_value=0.0, max_value=1.0),
            "low": st.column_config.NumberColumn("from", format="percent", help="Exact 90 % interval"),
            "high": st.column_config.NumberColumn("to", format="percent"),
        },
    )
