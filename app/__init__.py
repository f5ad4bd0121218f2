"""The Streamlit face of a run."""
