"""Who reads what: the same damaged replies through vLLM's parser to agentkit and to its peers."""
