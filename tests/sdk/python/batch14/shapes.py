"""Bodies for tests: pools, jobs and tasks with as few properties as possible."""

import azure.batch.models as m


def pool_of(name, nodes=2, **more):
    return m.PoolAddParameter(
        id=name,
        vm_size="STANDARD_D2S_V3",
        virtual_machine_configuration=m.VirtualMachineConfiguration(
            image_reference=m.ImageReference(
                publisher="canonical", offer="0001-com-ubuntu-server-jammy", sku="22_04-lts", version="latest"
            ),
            node_agent_sku_id="batch.node.ubuntu 22.04",
        ),
        target_dedicated_nodes=nodes,
        **more,
    )


def job_of(name, pool, **more):
    return m.JobAddParameter(id=name, pool_info=m.PoolInformation(pool_id=pool), **more)


def task_of(name, script="true", **more):
    return m.TaskAddParameter(id=name, command_line=f"/bin/sh -c '{script}'", **more)
