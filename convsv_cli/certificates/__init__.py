"""How far an input may move in the Euclidean norm before the class that is predicted for it can change."""
