"""What a file holds, whoever read it: graph, layers and the linear maps that they are."""
