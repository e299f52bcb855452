"""The objective: MnasNet's reward, hard limits, costs, fronts and hypervolume."""
