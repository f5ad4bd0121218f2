"""Tables become Plotly figures. It imports no Streamlit and nothing of app."""
