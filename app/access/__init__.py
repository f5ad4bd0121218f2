"""Who may enter and what they may do: login, roles, the gate in front of the server. It imports audit only."""
