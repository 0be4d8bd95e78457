print("edge-lora")
